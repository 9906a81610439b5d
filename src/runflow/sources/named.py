"""Which source code a version's documents name: ComfyUI and node packs, each by origin and commit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from runflow.protocol.named_packs import (
    MOST_CLASSES,
    MOST_NAME,
    MOST_PACKS,
    OFFICIAL_REPOSITORY,
    is_brought_along,
    named_packs,
    origin_of,
    text_of,
)
from runflow.protocol.origins import canonical, is_commit


class SourceKind(StrEnum):
    """What a version takes a source for."""

    COMFYUI = "comfyui"
    NODE_PACK = "node_pack"
    PACKAGE = "package"
    """A Python package that a pack wants from a repository, as a build found out."""


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source that a version names. `origin` is canonical, `commit` a full id in lower case.

    `classes`: those of the prompt that it provides, as far as that is told.
    """

    kind: SourceKind
    name: str
    origin: str
    commit: str
    classes: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """What is approved: origin and commit together, for a host serves a fork's commits under its parent's address.

        (So neither an origin nor a commit alone says what the code is.)
        """
        return self.origin, self.commit


def named_sources(environment: Any, custom_nodes: Any) -> tuple[NamedSource, ...]:
    """Return the sources that a version's documents name, ComfyUI first, then as many packs as a runtime takes.

    Left out is what every worker brings along, and what has no origin or no full commit, or an origin that no worker
    takes: none of that is ever built.
    """
    core = environment.get("comfyui") if isinstance(environment, Mapping) else None
    packs = ((name, row) for name, row in named_packs(custom_nodes) if not is_brought_along(name, row))
    return tuple(dict.fromkeys([*_comfyui(core), *(one for row in islice(packs, MOST_PACKS) for one in _pack(*row))]))


def _comfyui(row: Any) -> Iterator[NamedSource]:
    if isinstance(row, Mapping):
        yield from _source(SourceKind.COMFYUI, "ComfyUI", origin_of(row) or OFFICIAL_REPOSITORY, row)


def _pack(name: Any, row: Any) -> Iterator[NamedSource]:
    if isinstance(row, Mapping):
        yield from _source(SourceKind.NODE_PACK, _shown(name), origin_of(row), row)


def _source(kind: SourceKind, name: str, origin: str | None, row: Mapping[str, Any]) -> Iterator[NamedSource]:
    found, commit = canonical(origin or ""), (text_of(row, "commit") or "").lower()
    if found is None or not is_commit(commit):
        return
    told = row.get("classes")
    classes = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
    yield NamedSource(kind, name, found, commit, frozenset(classes[:MOST_CLASSES]))


def _shown(name: Any) -> str:
    """Return a name as the operator may read it: strangers wrote it, and a worker refuses what is no folder's name."""
    text = name if isinstance(name, str) else ""
    return "".join(one if one.isprintable() else "\ufffd" for one in text[:MOST_NAME]) or "(no name)"
