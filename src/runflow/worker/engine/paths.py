"""Paths that a workflow or a caller had a hand in, joined without leaving their folder."""

import os.path
from functools import lru_cache
from pathlib import Path

from runflow.graph.media import path_fault
from runflow.worker.engine.errors import EngineError


def relative_path(path: str) -> str:
    """Return a relative path with forward slashes. Raises EngineError for one that would leave its folder."""
    fault = path_fault(path)
    if fault is not None:
        raise EngineError(f"The path {path!r} cannot be used for a file of a run: {fault}.")
    return path.replace("\\", "/")


def inside(root: Path, *parts: str) -> Path:
    """Join parts to a folder. Raises EngineError when the result, links followed, is outside or the folder itself."""
    joined = root.joinpath(*(relative_path(part) for part in parts if part))
    if not os.path.realpath(joined).startswith(_real(root) + os.sep):
        raise EngineError(f"The path {'/'.join(parts)!r} leads out of the engine's folder.")
    return joined


@lru_cache(maxsize=64)
def _real(root: Path) -> str:
    """Where one of our own folders really is; if someone makes a link of it later, that leads out of it."""
    return os.path.realpath(root)
