"""`warnings[]` about files that a prompt names and no run would find. Pure, and slow enough for a thread."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runflow.graph import GraphWarning, Interface, Prompt, describe_node, node_order
from runflow.graph.media import looks_like_reference
from runflow.graph.prompt import consumers

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
    consumed = consumers(prompt)
    for node_id in sorted(prompt, key=node_order):
        node = prompt[node_id]
        field = INPUT_FILES.get(node["class_type"])
        name = node["inputs"].get(field) if field else None
        if not isinstance(name, str) or (node_id, field) in bound or not consumed.get(node_id):
            continue
        if _plain(name) not in known:
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
    bound = _bound(interface)
    for node_id in sorted(prompt, key=node_order):
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
