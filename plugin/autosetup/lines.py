"""The lines of a plan: one pack of custom nodes or one model each, with all that a person needs to decide on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .packages import Requirements

MOST_TEXT = 300
MOST_ERROR = 2000
"""Characters of a stranger's words that a page shows."""


def readable(text: str, most: int) -> str:
    """Words of a stranger as a page may show them: no more than `most`, and no letter that hides or turns others."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in cut)


def readable_all(texts: Iterable[str]) -> list[str]:
    """The same of each."""
    return [readable(text, MOST_TEXT) for text in texts]


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
            "name": readable(self.name, MOST_TEXT),
            "classes": readable_all(self.classes),
            "source": readable(self.url, MOST_ERROR),
            "method": self.method,
            "commit": self.commit,
            "version": self.version,
            "size_bytes": None,
            "packages": list(self.expected.plain) if self.expected else None,
            "left_out": readable_all(self.expected.left_out) if self.expected else [],
            "pickle": False,
            "notes": list(self.notes),
            "refused": None if self.refused is None else readable(self.refused, MOST_ERROR),
        }


@dataclass(frozen=True)
class ModelLine:
    """A model file. Without `refused` it can be downloaded from `url` to `relative` below `folder`.

    `part_bytes` of it are here already; its disk, which `disk` numbers, has room for `free_bytes`.
    """

    id: str
    kind: str
    name: str
    url: str = ""
    folder: Path = field(default_factory=Path)
    relative: PurePosixPath = field(default_factory=PurePosixPath)
    sha256: str | None = None
    size_bytes: int | None = None
    part_bytes: int = 0
    disk: int = 0
    free_bytes: int = 0
    pickle: bool = False
    notes: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def missing_bytes(self) -> int:
        """How much is to be downloaded, as far as that is known."""
        return max(0, (self.size_bytes or 0) - self.part_bytes)

    def to_dict(self) -> dict[str, Any]:
        """The line as the page shows it."""
        return {
            "id": self.id,
            "kind": "model",
            "name": readable(self.name, MOST_TEXT),
            "directory": readable(self.kind, MOST_TEXT),
            "source": readable(self.url, MOST_ERROR),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "missing_bytes": self.missing_bytes,
            "disk": self.disk,
            "free_bytes": self.free_bytes,
            "pickle": self.pickle,
            "notes": list(self.notes),
            "refused": None if self.refused is None else readable(self.refused, MOST_ERROR),
        }


Line = PackLine | ModelLine
