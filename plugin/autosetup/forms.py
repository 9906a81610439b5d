"""Whether a file has the format that its name promises, as far as a look at it tells. Nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

_MAX_HEADER = 100 << 20


def fault(place: Path, ending: str) -> str | None:
    """What is wrong with a file that was downloaded as `ending`, such as `.safetensors`; None: nothing that shows.

    A login page, half a file, or a pickle under another name must not pass for a model.
    """
    size = place.stat().st_size
    if not size:
        return "What arrived is an empty file"
    with place.open("rb") as file:
        if ending in (".safetensors", ".sft") and _safetensors_size(file, size) != size:
            return "What arrived is no safetensors file, or not all of one"
        if ending == ".gguf" and file.read(4) != b"GGUF":
            return "What arrived is no GGUF file"
    return None


def _safetensors_size(file: IO[bytes], size: int) -> int | None:
    """How large a safetensors file is by its own header; None: it has none."""
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        return None
    try:
        header = json.loads(file.read(length))
        ends = [int(row["data_offsets"][1]) for name, row in header.items() if name != "__metadata__"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return 8 + length + max(ends, default=0)
