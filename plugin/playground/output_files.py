"""The files of a run as the platform's record lists them, at ComfyUI's own address."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from ..graph import OutputFile

_TYPES = {
    # What Python's table or the system's lacks, or calls otherwise than browsers do.
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".obj": "model/obj",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".ply": "model/ply",
    ".safetensors": "application/octet-stream",
    ".stl": "model/stl",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


def content_type(name: str) -> str:
    """The media type of a file, by its name."""
    suffix = PurePosixPath(name.lower()).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"


def describe_outputs(files: Iterable[OutputFile], folders: dict[str, Path]) -> dict[str, Any]:
    """`output` of a run record. Each `url` is relative to ComfyUI's address. Blocks: looks up sizes.

    `folders` are ComfyUI's folders by type (`output`, `temp`).
    """
    rows = []
    for file in files:
        place = folders[file.type] / file.subfolder / file.filename
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        rows.append(
            {
                "output_id": file.output_id,
                "url": f"view?{urlencode(query)}",
                "filename": file.filename,
                "content_type": content_type(file.filename),
                "size_bytes": place.stat().st_size if place.is_file() else None,
            }
        )
    return {"kind": "comfyui_outputs", "outputs": rows}
