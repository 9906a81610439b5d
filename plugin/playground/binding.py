"""From the form to a prompt: checked, converted and bound by the platform's own rules.

Files are the one difference: a form names files of ComfyUI's input folder where a caller sends references.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..answers import Refused
from ..graph import BindError, InputSpec, Interface, ValueProblem, bind, path_fault, validate_values
from ..graph.media import ASSET_PREFIX, looks_like_reference
from .captures import Capture

OUTPUT_FOLDER = "runflow-playground"
"""Where runs write, below ComfyUI's output folder: each in a folder of its own, as on the platform."""

_STAND_IN = f"{ASSET_PREFIX}00000000-0000-0000-0000-000000000000"


def bind_values(capture: Capture, values: object, run_id: str, input_folder: Path) -> dict[str, dict[str, Any]]:
    """The captured prompt with the form's values in it; the capture does not change. Blocks: looks for files.

    Raises:
        Refused: 422 with one error for each field, in the platform's form; or the prompt cannot be bound.
    """
    interface = capture.interface
    files, problems = _files(interface, values, input_folder)
    checked = values
    if isinstance(values, Mapping):
        media = {spec.name for spec in interface.inputs if spec.variable_type_code.is_media}
        others = {name: value for name, value in values.items() if name not in media}
        checked = {**others, **dict.fromkeys(files, _STAND_IN)}
    found = validate_values(interface, checked)
    # A file that was refused is not reported as missing as well.
    all_problems = [*problems.values(), *(each for each in found.problems if each.key not in problems)]
    if all_problems:
        raise _invalid(all_problems)
    try:
        folder = f"{OUTPUT_FOLDER}/{capture.slug}/{run_id}"
        return bind(capture.prompt, interface, found.values, files=files, output_folder=folder)
    except BindError as error:
        raise Refused(f"The values do not fit the workflow: {error}", code="WORKFLOW_INVALID", status=422) from None


def _files(interface: Interface, values: object, folder: Path) -> tuple[dict[str, str], dict[str, ValueProblem]]:
    """The files of image and file inputs by input name, defaults included, and what is wrong with them."""
    files: dict[str, str] = {}
    problems: dict[str, ValueProblem] = {}
    given: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
    for spec in interface.inputs:
        if not spec.variable_type_code.is_media:
            continue
        value = given.get(spec.name)
        if value in (None, ""):
            value = None if spec.is_required else spec.default_value
            if value is None:
                continue
        fault = _file_fault(spec, value, folder)
        if fault:
            problems[spec.name] = ValueProblem(spec.name, f'Input "{spec.name}": {fault}', "invalid_reference")
        else:
            files[spec.name] = str(value)
    return files, problems


def _file_fault(spec: InputSpec, value: object, folder: Path) -> str | None:
    if not isinstance(value, str):
        return f"choose {'a picture' if spec.variable_type_code == 'image' else 'a file'}."
    if looks_like_reference(value):
        return "the playground takes files only. Download it and choose the file."
    fault = path_fault(value)
    if fault:
        return f"{value[:100]!r} is no file of ComfyUI's input folder: {fault}. Choose the file again."
    if not (folder / value).is_file():
        return f"{value[:100]!r} is not in ComfyUI's input folder (any more). Choose the file again."
    return None


def _invalid(problems: list[ValueProblem]) -> Refused:
    errors = [{"loc": ["body", "input", each.key], "msg": each.message, "type": each.type} for each in problems]
    return Refused(" ".join(each.message for each in problems[:5]), code="VALIDATION_ERROR", status=422, errors=errors)
