"""The lines of a plan: one pack of custom nodes or one model each, with all that a person needs to decide on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .requirements import Requirements


@dataclass(frozen=True)
class PackLine:
    """A pack. Without `refused` it can be installed: from `url` at `commit`, or from the archive `archive`.

    `expected` are the packages that its source announces; None where nothing does.
    """

    id: str
    name: str
    classes: tuple[str, ...]
    url: str = ""
    method: str = "git"
    commit: str | None = None
    archive: str | None = None
    version: str | None = None
    expected: Requirements | None = None
    folder: Path = field(default_factory=Path)
    notes: tuple[str, ...] = ()
    refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The line as the page shows it."""
        return {
            "id": self.id,
            "kind": "custom_node",
            "name": self.name,
            "classes": list(self.classes),
            "source": self.url,
            "method": self.method,
            "commit": self.commit,
            "version": self.version,
            "size_bytes": None,
            "packages": list(self.expected.plain) if self.expected else None,
            "left_out": list(self.expected.left_out) if self.expected else [],
            "pickle": False,
            "notes": list(self.notes),
            "refused": self.refused,
        }


@dataclass(frozen=True)
class ModelLine:
    """A model file. Without `refused` it can be downloaded from `url` to `relative` below `folder`."""

    id: str
    kind: str
    name: str
    url: str = ""
    folder: Path = field(default_factory=Path)
    relative: PurePosixPath = field(default_factory=PurePosixPath)
    sha256: str | None = None
    size_bytes: int | None = None
    pickle: bool = False
    notes: tuple[str, ...] = ()
    refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The line as the page shows it."""
        return {
            "id": self.id,
            "kind": "model",
            "name": self.name,
            "directory": self.kind,
            "source": self.url,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "pickle": self.pickle,
            "notes": list(self.notes),
            "refused": self.refused,
        }


Line = PackLine | ModelLine
