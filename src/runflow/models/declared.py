"""The models of a version's manifest that are named by content."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model that a version needs: its path below `models/`, and its content."""

    path: str
    sha256: str


def declared(models: Any) -> tuple[DeclaredModel, ...]:
    """Return the models with a path and a SHA-256, whether they came as an object by path or as an array."""
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(models, Mapping):
        rows = models.items()
    elif isinstance(models, list):
        rows = [(row.get("path"), row) for row in models if isinstance(row, Mapping)]
    found = []
    for path, row in rows:
        sha256 = row.get("sha256") if isinstance(row, Mapping) else None
        if isinstance(path, str) and path and isinstance(sha256, str) and _SHA256.fullmatch(sha256.lower()):
            found.append(DeclaredModel(path, sha256.lower()))
    return tuple(found)
