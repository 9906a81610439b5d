"""Putting a run's values into its prompt, and everything that the run writes into a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .media import looks_like_reference, path_fault
from .problems import BindError, GraphProblem
from .prompt import Prompt, consumers, copy_json, describe_node, is_link, node_problem, widget_values
from .runflow_nodes import (
    DEFAULT_FIELD,
    FILE_NAME_FIELD,
    INPUT_CLASSES,
    OUTPUT_SUBFOLDER_FIELD,
    SAVING_CLASSES,
    VALUE_FIELD,
    InputType,
    default_text,
    unwired_text,
)
from .spec import InputSpec, Interface
from .targets import has_target, missing_target, twins, value_targets

INJECTED_META = "runflow_input"
"""Key in `_meta` of an injected node that holds the name of the input it loads."""

_ANNOTATION = re.compile(r"\[(input|output|temp)\]\s*$")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_]+")

PREFIX_FIELD = "filename_prefix"
"""The input by which ComfyUI's saving nodes, and most custom ones, choose folder and name."""

NAME_WITHOUT_PREFIX = "output"
"""Start of the file names of a node whose `filename_prefix` is empty."""


def bind(
    prompt: Prompt,
    interface: Interface,
    values: Mapping[str, object],
    *,
    files: Mapping[str, str],
    output_folder: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return a new prompt that carries `values`; `prompt` itself is never changed and shares nothing with the result.

    Args:
        prompt: the version's API-format prompt, as `check_prompt` accepts it.
        interface: the version's frozen interface.
        values: what `validate_values` returned, by input name. Absent and None mean omitted.
        files: for each image and file input that `media_inputs` lists, where the fetched file lies, relative to
            ComfyUI's input folder, with forward slashes.
        output_folder: a folder of this run alone, relative to ComfyUI's output folder: Runflow Output (Image) and every
            node with a text `filename_prefix` write there.

    Scalars replace the target field. An image for Runflow Input (Image), or for any field that holds no text, arrives
    through an injected `LoadImage` node; other media targets get the file name. A value for a Runflow Input node goes
    to every node of that class with the same `input_id`. An omitted optional input takes, first that applies: its
    `default_value`; the `file_name` of a file node; else every link that leaves the node is removed, so that each
    consumer's own default applies (docs/api/runs.md, "Inputs that are left out"): what its widget holds in the editor,
    where the prompt tells (`widget_values`). A field of another node keeps what it holds.
    Links into the `value` of a bound Runflow Input node are local test wiring and are removed.

    Raises:
        BindError: a value, file or target is missing, an input is unknown, or a path leaves its folder.
    """
    bound: dict[str, dict[str, Any]] = copy_json(prompt)
    problems = _check(prompt, interface, values, files, output_folder)
    if problems:
        raise BindError(problems)
    # Who consumes whom is read before anything changes: binding only ever adds links from injected nodes.
    consumed = consumers(prompt)
    by_id = twins(prompt)
    handled: set[str] = set()
    for spec in interface.inputs:
        targets = value_targets(prompt, spec, by_id)
        handled.update(targets)
        if spec.variable_type_code.is_media:
            name = _file_name(spec, values, files)
            if name is not None:
                _bind_file(bound, spec, targets, name)
                continue
        else:
            value = values.get(spec.name)
            value = spec.default_value if value is None else value
            if value is not None:
                for node_id in targets:
                    bound[node_id]["inputs"][spec.comfyui_field_name] = value
                continue
        _omit(bound, spec, targets, consumed)
    _drop_unexposed(bound, handled, consumed)
    if output_folder is not None:
        faults = direct_outputs(bound, output_folder)
        if faults:
            raise BindError(faults)
    return bound


def injected_input(prompt: Prompt, node_id: str) -> str | None:
    """The input whose file an injected node loads, or None for a node of the workflow's own.

    An engine that refuses a picture names the injected node; this tells which input the caller has to repair.
    """
    meta = prompt.get(node_id, {}).get("_meta")
    name = meta.get(INJECTED_META) if isinstance(meta, Mapping) else None
    return name if isinstance(name, str) else None


def _check(
    prompt: Prompt,
    interface: Interface,
    values: Mapping[str, object],
    files: Mapping[str, str],
    output_folder: str | None,
) -> list[GraphProblem]:
    known = {spec.name for spec in interface.inputs}
    problems = [
        GraphProblem(f'There is no input "{key}".', "Remove it or add such an input to the workflow.")
        for key in {**values, **files}
        if key not in known
    ]
    for spec in interface.inputs:
        who = f'Input "{spec.name}"'
        node_id, field = spec.comfyui_node_id, spec.comfyui_field_name
        if not has_target(prompt, node_id, field):
            problems.append(missing_target(prompt, who, node_id, field))
        given = values.get(spec.name)
        if given is None and spec.is_required:
            problems.append(GraphProblem(f"{who} is required but has no value.", "Send a value for it.", node_id))
        elif spec.variable_type_code.is_media:
            problems += _check_file(spec, given, files.get(spec.name))
    fault = path_fault(output_folder) if output_folder is not None else None
    if fault:
        message = f'The output folder "{output_folder}" cannot be used: {fault}.'
        problems.append(GraphProblem(message, "Name a folder relative to ComfyUI's output folder."))
    return problems


def _check_file(spec: InputSpec, given: object, path: str | None) -> list[GraphProblem]:
    if path is None:
        default = spec.default_value if isinstance(spec.default_value, str) else ""
        if given is None and not looks_like_reference(default):
            return []
        message = f'Input "{spec.name}" has a value, but its file was not fetched.'
        return [GraphProblem(message, "Fetch every file that media_inputs lists before binding.", spec.comfyui_node_id)]
    fault = path_fault(path)
    if fault is None and _ANNOTATION.search(path):
        # ComfyUI reads "x.png [output]" as a file of another folder.
        fault = "its ending names a folder of ComfyUI"
    if fault is None:
        return []
    message = f'The file "{path}" of input "{spec.name}" cannot be used: {fault}.'
    return [GraphProblem(message, "Store it under a plain name below ComfyUI's input folder.", spec.comfyui_node_id)]


def _file_name(spec: InputSpec, values: Mapping[str, object], files: Mapping[str, str]) -> str | None:
    """Where the file of a media input lies under the input folder; None when the input was omitted without default."""
    if spec.name in files:
        return files[spec.name]
    default = spec.default_value
    return default if values.get(spec.name) is None and isinstance(default, str) else None


def _bind_file(bound: dict[str, dict[str, Any]], spec: InputSpec, targets: list[str], name: str) -> None:
    field = spec.comfyui_field_name
    loader: str | None = None
    for node_id in targets:
        inputs = bound[node_id]["inputs"]
        if _takes_file_name(bound[node_id], field, spec.variable_type_code):
            inputs[field] = name
            continue
        if loader is None:
            loader = _inject_loader(bound, spec, name)
        inputs[field] = [loader, 0]


def _takes_file_name(node: Mapping[str, Any], field: str, kind: InputType) -> bool:
    declared = INPUT_CLASSES.get(node["class_type"])
    if declared is not None and field == VALUE_FIELD:
        return declared is not InputType.IMAGE
    return kind is InputType.FILE or isinstance(node["inputs"].get(field), str)


def _inject_loader(bound: dict[str, dict[str, Any]], spec: InputSpec, name: str) -> str:
    wanted = "runflow_image_" + _NOT_IN_ID.sub("_", spec.comfyui_node_id)
    loader, number = wanted, 2
    while loader in bound:
        loader, number = f"{wanted}_{number}", number + 1
    bound[loader] = {
        "class_type": "LoadImage",
        "inputs": {"image": name, "upload": "image"},
        "_meta": {"title": f"Input {spec.name}", INJECTED_META: spec.name},
    }
    return loader


def _omit(
    bound: dict[str, dict[str, Any]], spec: InputSpec, targets: list[str], consumed: dict[str, list[tuple[str, str]]]
) -> None:
    for node_id in targets:
        node = bound[node_id]
        if node["class_type"] not in INPUT_CLASSES or spec.comfyui_field_name != VALUE_FIELD:
            continue
        node["inputs"].pop(VALUE_FIELD, None)
        if not _has_file_name(node):
            _cut_links(bound, node_id, consumed)


def _drop_unexposed(
    bound: dict[str, dict[str, Any]], handled: set[str], consumed: dict[str, list[tuple[str, str]]]
) -> None:
    """A Runflow Input node that no row exposes counts as omitted, unless the prompt still holds a value for it."""
    for node_id, node in bound.items():
        if node["class_type"] not in INPUT_CLASSES or node_id in handled:
            continue
        if VALUE_FIELD not in node["inputs"] and not _has_file_name(node) and not _has_default(node):
            _cut_links(bound, node_id, consumed)


def _has_file_name(node: Mapping[str, Any]) -> bool:
    return INPUT_CLASSES[node["class_type"]] is InputType.FILE and bool(node["inputs"].get(FILE_NAME_FIELD))


def _has_default(node: Mapping[str, Any]) -> bool:
    return default_text(node["class_type"], node["inputs"].get(DEFAULT_FIELD)) is not None


def _cut_links(bound: dict[str, dict[str, Any]], node_id: str, consumed: dict[str, list[tuple[str, str]]]) -> None:
    for consumer, field in consumed.get(node_id, ()):
        inputs = bound[consumer]["inputs"]
        # The field may hold a bound value by now.
        if is_link(inputs.get(field)) and inputs[field][0] == node_id:
            own = widget_values(bound[consumer])
            if field in own:
                inputs[field] = own[field]
            else:
                del inputs[field]


def direct_outputs(bound: dict[str, dict[str, Any]], folder: str) -> list[GraphProblem]:
    """Make every saving node of `bound` write below `folder`, changing `bound`; returns what could not be directed.

    A literal `filename_prefix` gets the folder in front. One that is linked to a Runflow Input (String) or (Choice) is
    replaced by that node's text with the folder in front, so that no caller can write into the folder of another run;
    other linked prefixes are left as they are.
    """
    folder = folder.rstrip("/\\")
    problems: list[GraphProblem] = []
    for node_id, node in bound.items():
        inputs = node["inputs"]
        ours = node["class_type"] in SAVING_CLASSES
        if ours:
            inputs[OUTPUT_SUBFOLDER_FIELD] = folder
        prefix = _prefix(bound, inputs.get(PREFIX_FIELD))
        if prefix is None:
            continue
        parts = [part for part in re.split(r"[/\\]", prefix) if part not in ("", ".")]
        if ".." in parts:
            message = f'The {PREFIX_FIELD} of {describe_node(bound, node_id)} leaves the folder of the run with "..".'
            problems.append(node_problem(bound, node_id, message, "Use a prefix without '..'."))
            continue
        if ours:
            continue
        # Without a name of its own ComfyUI would take the last folder for the start of the file name.
        inputs[PREFIX_FIELD] = "/".join([folder, *(parts or [NAME_WITHOUT_PREFIX])])
    return problems


def _prefix(bound: dict[str, dict[str, Any]], value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and is_link(value):
        source = bound.get(value[0])
        if source is not None and INPUT_CLASSES.get(source["class_type"]) is InputType.STRING:
            text = source["inputs"].get(VALUE_FIELD, unwired_text(source["class_type"], source["inputs"]))
            return text if isinstance(text, str) else None
    return None
