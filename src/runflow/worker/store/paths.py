"""The one form of a model's path below `models/`, by which files are found, given and compared."""

from runflow.protocol.abilities import SAME_KIND
from runflow.worker.engine.base import EngineError
from runflow.worker.engine.folders import relative_path


def model_path(path: str) -> str:
    """Return a path with forward slashes, its kind by the name that ComfyUI has for it today, and nothing to resolve.

    So two spellings of one place are one path. Raises EngineError for one that leads elsewhere.
    """
    parts = [part for part in relative_path(path).split("/") if part != "."]
    if not parts or "" in parts:
        raise EngineError(f"The path {path!r} cannot be used for a model: it has a part without a name.")
    kind, *name = parts
    return "/".join((SAME_KIND.get(kind, kind) if name else kind, *name))


def kinds_of(kind: str) -> tuple[str, ...]:
    """Return the folders that ComfyUI reads as this kind, in its order: the old name comes first."""
    return (*(old for old, new in SAME_KIND.items() if new == kind), kind)
