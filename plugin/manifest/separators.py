"""File names of a Windows author, in the form that every other system understands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def with_forward_slashes(prompt: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """A prompt whose fields name the files of the manifest by forward slashes; every other text stays as it is.

    On Windows ComfyUI offers `SDXL\\base.safetensors`, which names no file anywhere else. `paths` are those of models,
    below models/, and of input files.
    """
    return {node_id: {**node, "inputs": _inputs(node["inputs"], paths)} for node_id, node in prompt.items()}


def _inputs(inputs: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    return {field: _name(value, paths) if isinstance(value, str) else value for field, value in inputs.items()}


def _name(value: str, paths: Collection[str]) -> str:
    if "\\" not in value:
        return value
    name = value.replace("\\", "/")
    # A field names a model without its folder below models/.
    return name if any(path == name or path.endswith(f"/{name}") for path in paths) else value
