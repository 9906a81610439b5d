"""The files below ComfyUI's input folder that a prompt really uses."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .node_catalogue import NodeCatalogue, is_prose

_ELSEWHERE = re.compile(r"\s*\[(output|temp)\]\s*$")
_HERE = re.compile(r"\s*\[input\]\s*$")
_MAX_NAME = 500
# Types that the mimetypes of some systems lack; a server may refuse an unknown one.
_TYPES = {".webp": "image/webp", ".opus": "audio/ogg", ".flac": "audio/flac", ".glb": "model/gltf-binary"}


@dataclass(frozen=True)
class InputFile:
    """A file to send along: its path relative to the input folder, and where it lies here."""

    path: str
    place: Path
    size_bytes: int
    mime_type: str


def find_resources(
    prompt: Mapping[str, Any], executed: Iterable[str], folder: Path, catalogue: NodeCatalogue
) -> tuple[list[InputFile], list[str]]:
    """The input files that the executed nodes name, by path, and warnings about files that cannot be sent along.

    A file counts when a field's whole text is its path. What only fed a Runflow Input node is not executed, so it is
    not sent.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100 (a linked input folder keeps its name)
    found: dict[str, InputFile] = {}
    warnings: list[str] = []
    for node_id in sorted(executed):
        node = prompt[node_id]
        class_type = str(node.get("class_type"))
        for field, value in node.get("inputs", {}).items():
            if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME or "\n" in value:
                continue
            if is_prose(catalogue.field(class_type, field)):
                continue
            if _ELSEWHERE.search(value):
                warnings.append(
                    f'Node {node_id} ({class_type}) reads "{value}", which is not in the input folder and is not sent. '
                    "Copy the file into ComfyUI's input folder and choose it there."
                )
                continue
            file = _input_file(root, _HERE.sub("", value))
            if file is not None:
                found.setdefault(file.path, file)
    return [found[path] for path in sorted(found)], warnings


def _input_file(root: Path, name: str) -> InputFile | None:
    if "\0" in name or Path(name).is_absolute() or Path(name).drive:
        return None
    place = Path(os.path.abspath(root / name))  # noqa: PTH100
    try:
        if not place.is_relative_to(root) or place == root or not place.is_file():
            return None
        size = place.stat().st_size
    except (OSError, ValueError):
        return None
    kind = _TYPES.get(place.suffix.lower()) or mimetypes.guess_type(place.name)[0]
    return InputFile(place.relative_to(root).as_posix(), place, size, kind or "application/octet-stream")
