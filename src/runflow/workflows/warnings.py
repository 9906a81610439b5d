"""`warnings[]` about what a body says beside its prompt: models, GPUs, unknown fields, missing files."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from runflow.graph import GraphWarning, InputType, Interface, Prompt, describe_node, node_order
from runflow.graph.media import looks_like_reference
from runflow.graph.prompt import consumers
from runflow.graph.targets import idle_nodes
from runflow.workflows.fields import GpuMode

MAX_WARNINGS = 100
"""At most this many warnings are answered; one more says how many were left out."""

READ_ONLY = frozenset(
    {
        "id", "org_id", "owner", "path", "version", "versions", "is_serving", "golden_run", "created_by",
        "created_at", "updated_at",
        "deleted_at", "deleted_by", "warnings", "can_run", "comfyui_workflow_id", "origin",
    }
)  # fmt: skip
"""Fields of a record that a client may send back as it read them; they are not changed by it."""


def about_models(models: Any) -> Iterator[GraphWarning]:
    """Warn of models of which nobody knows for sure which file is meant."""
    for name, model in _named(models):
        if not isinstance(model, Mapping) or model.get("sha256"):
            continue
        if not model.get("url"):
            yield GraphWarning(
                None,
                f'The model "{name[:200]}" has neither a url nor a sha256, so nobody can tell which file is meant.',
                "Add them, or put the file on every worker.",
            )
        else:
            yield GraphWarning(
                None,
                f'The model "{name[:200]}" has no sha256, so each worker takes whatever its address has first.',
                "Add it.",
            )


def about_environment(environment: Any, custom_nodes: Any) -> Iterator[GraphWarning]:
    """Warn of code that nobody else can install as it is on the author's machine."""
    core = environment.get("comfyui") if isinstance(environment, Mapping) else None
    sources = [("ComfyUI", core)] if isinstance(core, Mapping) else []
    for name, node in _named(custom_nodes):
        # The worker brings the Runflow nodes that fit it.
        if isinstance(node, Mapping) and name != "ComfyUI-Runflow":
            sources.append((f'The custom node "{name[:200]}"', node))
    for what, source in sources:
        if not source.get("commit") and not source.get("version"):
            yield GraphWarning(
                None,
                f"{what} names no commit, so nobody can tell which state of it is meant.",
                "Install it from a git repository and deploy again, or put the same state on every worker.",
            )
        elif source.get("dirty"):
            yield GraphWarning(
                None,
                f"{what} has local changes that its commit does not hold; another machine runs without them.",
                "Commit and push them and deploy again, or put the same state on every worker.",
            )


def about_evaluation(workflow: Mapping[str, Any]) -> Iterator[GraphWarning]:
    """Warn of evaluation settings of a workflow's record that have no effect."""
    if not workflow["auto_evaluate"]:
        if workflow["evaluation_task_type"] is not None:
            yield GraphWarning(
                None,
                "evaluation_task_type has no effect while auto_evaluate is off.",
                "Set auto_evaluate to true, or leave evaluation_task_type out.",
            )
        return
    kinds = {row["variable_type_code"] for row in workflow["outputs"]}
    if kinds and InputType.IMAGE not in kinds:
        yield GraphWarning(
            None,
            "auto_evaluate is on, but no output of the workflow is an image, so nothing is evaluated.",
            "Add a Runflow Output (Image) node, or set auto_evaluate to false.",
        )


def about_resources(missing: Iterable[str]) -> Iterator[GraphWarning]:
    """Warn of resources whose file no run will get."""
    for path in missing:
        yield GraphWarning(
            None,
            f'The resource "{path[:200]}" names no asset of your organization, so no run gets this file.',
            "Upload the file and put its asset_id into `resources`.",
        )


def about_fields(body: BaseModel) -> Iterator[GraphWarning]:
    """Warn of fields that were sent and mean nothing, those of nested inputs and outputs included."""
    for at, (place, name, known) in enumerate(_unknown(body)):
        # More are not shown, and to find the nearest name takes a while.
        near = difflib.get_close_matches(name[:100], known, n=1) if at < MAX_WARNINGS else []
        step = f'Did you mean "{near[0]}"?' if near else "Leave it out."
        yield GraphWarning(None, f'The field "{place}{name[:100]}" is not known and was ignored.', step)


def about_version(sent: Any, *actual: str) -> Iterator[GraphWarning]:
    """Warn of a version that was sent and is not the one that the workflow had or got."""
    if sent is not None and sent not in actual:
        yield GraphWarning(
            None,
            f"The version {str(sent)[:100]!r} was ignored: the server numbers versions, and this is {actual[-1]}.",
            "Put a name of your own into the description.",
        )


def about_gpus(mode: str, wanted: Sequence[str], known: Sequence[str]) -> Iterator[GraphWarning]:
    """Warn of GPU codes that the catalogue lacks, and of a list that has no effect."""
    spelt = {code.upper(): code for code in known}
    for code in wanted:
        if code not in known:
            meant = spelt.get(code.upper())
            yield GraphWarning(
                None,
                f'The GPU code "{code}" is not in the catalogue ({", ".join(known)}).',
                f'Write it "{meant}": upper and lower case count, and runs would wait.'
                if meant
                else "Make sure that a worker registers with exactly this code, or runs on it will wait.",
            )
    if wanted and mode == GpuMode.AUTO:
        yield GraphWarning(
            None, "gpu_mode is auto, so gpu_explicit_models is not used.", "Set gpu_mode to explicit to use the list."
        )


def answered(warnings: Iterable[GraphWarning]) -> list[dict[str, str | None]]:
    """Return warnings as the wire has them, each once."""
    distinct = list(dict.fromkeys(warnings))
    if len(distinct) > MAX_WARNINGS:
        left = len(distinct) - MAX_WARNINGS
        distinct[MAX_WARNINGS:] = [GraphWarning(None, f"{left} more warnings were left out.", "See to these first.")]
    return [warning.to_dict() for warning in distinct]


def _unknown(body: BaseModel, place: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Yield where an unknown field stands, its name, and the names that are known there."""
    known = list(type(body).model_fields)
    yield from ((place, name, known) for name in body.model_extra or () if name not in READ_ONLY)
    for field in ("inputs", "outputs"):
        for index, row in enumerate(getattr(body, field, None) or ()):
            yield from _unknown(row, f"{field}.{index}.")


def _named(models: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(models, Mapping):
        yield from models.items()
    for at, row in enumerate(models if isinstance(models, list) else ()):
        name = (
            next((row[key] for key in ("path", "name", "directory", "filename") if row.get(key)), at)
            if _is_row(row)
            else at
        )
        yield str(name), row


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping)


INPUT_FILES = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
    "VHS_LoadVideo": "video",
}
"""Nodes that read a file of ComfyUI's input folder, and the field that names it."""

_MODEL = re.compile(r".\.(safetensors|sft|ckpt|pt|pth|gguf|onnx)$", re.IGNORECASE)
_INPUT_ANNOTATION = "[input]"
_SEGMENTS = 16
"""Deepest name of a model that is recognized at the end of a longer path."""


def about_input_files(prompt: Prompt, interface: Interface, resources: Iterable[str]) -> Iterator[GraphWarning]:
    """Warn of files of the input folder that the prompt, or a default, names and `resources` (their paths) lack."""
    known = set(map(_plain, resources))
    bound = _bound(interface)
    consumed, idle = consumers(prompt), idle_nodes(prompt, interface)
    for node_id in sorted(prompt, key=node_order):
        node = prompt[node_id]
        field = INPUT_FILES.get(node["class_type"])
        name = node["inputs"].get(field) if field else None
        if not isinstance(name, str) or (node_id, field) in bound or not consumed.get(node_id) or node_id in idle:
            continue
        if looks_like_reference(name):
            yield GraphWarning(
                node_id,
                f'{describe_node(prompt, node_id)} names the address "{name[:200]}", but it opens files of the input '
                "folder only, so every run fails.",
                f'Make its "{field}" an input with this address as the default, so that each run fetches the file, or '
                "put the file into the input folder and choose it there.",
            )
        elif _plain(name) not in known:
            yield GraphWarning(
                node_id,
                f'{describe_node(prompt, node_id)} reads the input file "{name[:200]}", which is not among the '
                "resources, so no run gets it.",
                "Add it to `resources` (Deploy does so for files of the input folder), or make it an input.",
            )
    for spec in interface.inputs:
        default = spec.default_value
        if not spec.variable_type_code.is_media or not isinstance(default, str) or looks_like_reference(default):
            continue
        if not spec.is_required and _plain(default) not in known:
            yield GraphWarning(
                spec.comfyui_node_id,
                f'The default of the input "{spec.name}" is the input file "{default[:200]}", which is not among the '
                "resources, so a run that omits the input fails.",
                "Add it to `resources` (Deploy does so for files of the input folder), or make the input required.",
            )


def about_named_models(prompt: Prompt, interface: Interface, models: Any) -> Iterator[GraphWarning]:
    """Warn of model files that the prompt names and `models` lacks, where `models` names any at all."""
    # Every end of every path, so that the time does not grow with names times paths.
    known = {end for path in _paths(models) for end in _ends(_plain(path))}
    if not known:
        return
    bound, idle = _bound(interface), idle_nodes(prompt, interface)
    for node_id in sorted(prompt.keys() - idle, key=node_order):
        for field, name in prompt[node_id]["inputs"].items():
            if not isinstance(name, str) or not _MODEL.search(name) or (node_id, field) in bound:
                continue
            if _plain(name) not in known:
                yield GraphWarning(
                    node_id,
                    f'{describe_node(prompt, node_id)} loads "{name[:200]}", which is not among the models.',
                    "Add it to `models` with its url and sha256, and put the file on every worker.",
                )


def _bound(interface: Interface) -> set[tuple[str, str]]:
    return {(spec.comfyui_node_id, spec.comfyui_field_name) for spec in interface.inputs}


def _plain(path: str) -> str:
    # No pattern for the spaces: on a text of nothing else it would take the square of its length.
    bare = path.rstrip().removesuffix(_INPUT_ANNOTATION)
    return bare.replace("\\", "/").removeprefix("./").strip()


def _ends(path: str) -> Iterator[str]:
    """Yield a path, and what it is called from inside each of its folders."""
    yield path
    segments = path.rsplit("/", _SEGMENTS)
    yield from ("/".join(segments[first:]) for first in range(1, len(segments)))


def _paths(models: Any) -> Iterator[str]:
    if isinstance(models, Mapping):
        yield from models
    for row in models if isinstance(models, list) else ():
        if isinstance(row, Mapping):
            yield from (row[key] for key in ("path", "name", "filename") if isinstance(row.get(key), str))
