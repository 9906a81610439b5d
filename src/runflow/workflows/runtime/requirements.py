"""What a version needs of an engine, derived from its documents. These never change, so what is derived holds."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import orjson

from runflow.db.sized_memory import SizedMemory
from runflow.db.transaction import Transaction
from runflow.models.cached import cached_models, has_address
from runflow.models.service import declared
from runflow.protocol.abilities import PICKLES
from runflow.protocol.named_packs import (
    is_brought_along,
    is_folder_name,
    is_installer,
    named_packs,
    origin_of,
)
from runflow.sources.named import NamedSource, named_sources
from runflow.workflows import queries
from runflow.workflows.queries import NeedsRow
from runflow.workflows.runtime.large_models import large_models

MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of requirements that a process remembers: of some 20,000 ordinary versions."""
MOST_STORED_BYTES = 4 * 1024 * 1024
"""Documents of several versions are read together up to this size, as they are stored (several times smaller)."""

_PLUGIN = "ComfyUI-Runflow"
"""Every worker brings its own."""


@dataclass(frozen=True, slots=True)
class NeededModel:
    """A model that the manifest declares. `sha256`: lower case, None where it does not say.

    `has_address`: it says where the file can be fetched.
    """

    path: str
    sha256: str | None = None
    has_address: bool = False


@dataclass(frozen=True, slots=True)
class NeededPack:
    """A node pack that the manifest names, with the classes of the prompt that it provides as far as that is told."""

    name: str
    origin: str | None = None
    commit: str | None = None
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a version needs. `org_id`: its organization, whose uploaded models a worker fetches for it.

    `models_gb`: GiB of a GPU that its large models are expected to need, as far as the manifest tells their sizes.
    """

    org_id: UUID
    node_types: tuple[str, ...] = ()
    models: tuple[NeededModel, ...] = ()
    packs: tuple[NeededPack, ...] = ()
    comfyui_version: str | None = None
    comfyui_commit: str | None = None
    sources: tuple[NamedSource, ...] = ()
    """What a runtime of its own would be built of, as far as it comes from repositories."""
    unbuildable: str = ""
    """Why no runtime can be built for it, as the end of a sentence about it; empty where one can."""
    cached_pickles: tuple[str, ...] = ()
    """Files of libraries' caches in formats that can hold code."""
    models_gb: int = 0


def requirements_of(
    org_id: UUID, prompt: Any, *, models: Any = None, custom_nodes: Any = None, environment: Any = None
) -> Requirements:
    """Derive the requirements from documents as they were sent; what cannot be understood asks for nothing.

    Every node of a prompt counts: ComfyUI refuses one that names a class it lacks, wherever that stands.
    """
    nodes = prompt.values() if isinstance(prompt, Mapping) else ()
    told = [node.get("class_type") for node in nodes if isinstance(node, Mapping)]
    cached = cached_models(environment).files
    core = environment.get("comfyui") if isinstance(environment, Mapping) else None
    core = core if isinstance(core, Mapping) else {}
    return Requirements(
        org_id,
        node_types=tuple(sorted({name for name in told if isinstance(name, str) and name})),
        models=tuple(NeededModel(one.path, one.sha256, one.url is not None) for one in declared(models)),
        packs=tuple(_packs(custom_nodes)),
        cached_pickles=tuple(
            one.title for one in cached if PurePosixPath(one.path).suffix.lower() in PICKLES and has_address(one)
        ),
        comfyui_version=_text(core.get("version")),
        comfyui_commit=_text(core.get("commit")),
        sources=(sources := named_sources(environment, custom_nodes)),
        unbuildable=_unbuildable(core, custom_nodes, sources),
        models_gb=large_models(models, None, {}, cached).memory_gb,
    )


def _unbuildable(core: Mapping[str, Any], custom_nodes: Any, sources: Iterable[NamedSource]) -> str:
    """Say what the documents lack for building; a worker that builds finds more to refuse (`runtime/build`)."""
    named = {one.name for one in sources}
    if not _text(core.get("version")) and "ComfyUI" not in named:
        return "names no commit and no version of ComfyUI"
    for name, row in named_packs(custom_nodes):
        if is_brought_along(name, row):
            continue
        if not is_folder_name(name) or is_installer(name, origin_of(row) if isinstance(row, Mapping) else None):
            return f"names {str(name)[:80]!r}, which is no node pack that is built"
        if name not in named:
            return f"does not say which repository and commit the node pack {name!r} is from"
    return ""


def _packs(custom_nodes: Any) -> Iterator[NeededPack]:
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(custom_nodes, Mapping):
        rows = custom_nodes.items()
    elif isinstance(custom_nodes, list):
        rows = [(row.get("name") or row.get("directory"), row) for row in custom_nodes if isinstance(row, Mapping)]
    for name, row in rows:
        if not isinstance(name, str) or not name or name == _PLUGIN or not isinstance(row, Mapping):
            continue
        classes = row.get("classes")
        yield NeededPack(
            name,
            _text(row.get("origin") or row.get("url") or row.get("repo")),
            _text(row.get("commit")),
            frozenset(one for one in classes if isinstance(one, str)) if isinstance(classes, list) else frozenset(),
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class RequirementsMemory:
    """Requirements by version, the least recently used one leaving first, bounded by about how many bytes they take."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Remember at most so many bytes."""
        self._held: SizedMemory[UUID, Requirements] = SizedMemory(max_bytes)

    def held(self, version_id: UUID) -> Requirements | None:
        """Return what is remembered of a version."""
        return self._held.get(version_id)

    async def read(self, transaction: Transaction, version_ids: Collection[UUID]) -> dict[UUID, Requirements]:
        """Return the requirements of these versions; those that are not remembered are read, many in one query."""
        found = {one: held for one in version_ids if (held := self.held(one)) is not None}
        while missing := [one for one in version_ids if one not in found]:
            rows = await queries.needs(transaction, missing, most_stored=MOST_STORED_BYTES)
            if not rows:
                break
            # Large graphs take their time to read; the loop serves others meanwhile.
            is_large = sum(len(row.workflow_json) + len(row.environment or "") for row in rows) > _LARGE
            derived = await asyncio.to_thread(_all_derived, rows) if is_large else _all_derived(rows)
            for one, version in derived.items():
                self._held.put(one, version, _size(version))
            found |= derived
        return found


def _size(version: Requirements) -> int:
    """Return about how many bytes requirements take: CPython's objects, and what finds them."""
    packs = sum(500 + 150 * len(pack.classes) + len(pack.origin or "") for pack in version.packs)
    packs += sum(600 + 150 * len(one.classes) + len(one.origin) for one in version.sources)
    models = sum(300 + len(model.path) for model in version.models)
    pickles = sum(100 + len(name) for name in version.cached_pickles)
    return 500 + sum(70 + len(name) for name in version.node_types) + models + packs + pickles


_LARGE = 64 * 1024


def _all_derived(rows: Iterable[NeedsRow]) -> dict[UUID, Requirements]:
    return {row.id: _derived(row) for row in rows}


def _derived(row: NeedsRow) -> Requirements:
    texts = (row.workflow_json, row.models, row.custom_nodes, row.environment)
    prompt, models, custom_nodes, environment = (orjson.loads(text or "null") for text in texts)
    return requirements_of(row.org_id, prompt, models=models, custom_nodes=custom_nodes, environment=environment)
