"""What workers' engines can run, read once per list and kept in memory by its hash.

Lists never change under their hash, so copies need no invalidation.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from runflow.db.transaction import Transaction
from runflow.protocol.abilities import (
    LIST_NAMES,
    Abilities,
    AbilityLists,
    ListName,
    ModelFile,
    NodePack,
    Sandbox,
    list_hash,
)
from runflow.protocol.codec import NotAMessage, from_wire, to_wire
from runflow.workers import ability_queries

MAX_ITEMS = 2_000_000
"""Most items of lists that a process keeps in memory."""

_SAME_FOLDER = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
"""Folders of `models/` that ComfyUI reads as one kind: the old name and the new one."""


def model_key(path: str) -> str:
    """Return a model's path in the one form in which paths are compared."""
    plain = path.replace("\\", "/").removeprefix("./").strip("/")
    kind, slash, name = plain.partition("/")
    return f"{_SAME_FOLDER.get(kind, kind)}{slash}{name}"


class ModelIndex:
    """The model files of an engine, found by path."""

    def __init__(self, files: Iterable[ModelFile]) -> None:
        """Index these files."""
        self._by_key = {model_key(file.path): file for file in files}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_key)

    def find(self, path: str) -> ModelFile | None:
        """Return the file of this path below `models/`; of a bare name, or a path below a kind's folder, any."""
        key = model_key(path)
        found = self._by_key.get(key)
        return found or next((file for known, file in self._by_key.items() if known.endswith(f"/{key}")), None)


@dataclass(frozen=True)
class EngineAbilities:
    """What an engine can run. A list is None where its worker cannot tell.

    `key` names all of it. `complete`: every list that the worker named is known to the server.
    """

    key: str
    comfyui_version: str | None = None
    comfyui_commit: str | None = None
    node_types: frozenset[str] | None = None
    node_packs: tuple[NodePack, ...] | None = None
    model_files: tuple[ModelFile, ...] | None = None
    places_models: bool = False
    allows_pickle: bool = False
    complete: bool = True

    @cached_property
    def models(self) -> ModelIndex | None:
        """The model files, found by path."""
        return None if self.model_files is None else ModelIndex(self.model_files)


Told = EngineAbilities | None
"""What a worker told of its abilities; None: nothing."""


def abilities_key(abilities: Abilities) -> str:
    """Return the hash of all that a worker told."""
    return hashlib.sha256(to_wire(abilities)).hexdigest()


def told_lists(lists: AbilityLists | None) -> dict[str, bytes]:
    """Return the lists that came with a registration, as JSON by their hash."""
    found = {}
    for name in LIST_NAMES:
        items = getattr(lists, name) if lists is not None else None
        if items is not None:
            found[list_hash(items)] = orjson.dumps(items)
    return found


def named_lists(abilities: Abilities) -> dict[ListName, str]:
    """Return the hashes of the lists that a worker named."""
    named = {name: getattr(abilities, name) for name in LIST_NAMES}
    return {name: found for name, found in named.items() if found is not None}


def read_sandbox(data: Mapping[str, Any] | None) -> Sandbox | None:
    """Return what a worker told of its sandbox; None where that cannot be read any more."""
    try:
        return None if data is None else from_wire(Sandbox, data)
    except NotAMessage:
        return None


class AbilityMemory:
    """Lists by their hash, the least recently used one leaving first, bounded by the number of their items."""

    def __init__(self, most: int = MAX_ITEMS) -> None:
        """Keep at most so many items."""
        self._most = most
        self._items = 0
        self._lists: OrderedDict[str, Any] = OrderedDict()
        self._whole: OrderedDict[str, EngineAbilities] = OrderedDict()

    async def read(self, transaction: Transaction, told: Iterable[Mapping[str, Any] | None]) -> list[Told]:
        """Return the abilities of workers' rows, in their order; one query for all lists that are not in memory."""
        rows = [_read(data) for data in told]
        named = {one for row in rows if row is not None for one in named_lists(row).values()}
        held = {one: self._lists[one] for one in named if one in self._lists}
        missing = named - held.keys()
        if missing:
            kinds = {one: name for row in rows if row is not None for name, one in named_lists(row).items()}
            for found in await ability_queries.lists(transaction, sorted(missing)):
                held[found.hash] = _made(kinds[found.hash], found.items)
        for name, items in held.items():
            self._keep(name, items)
        return [None if row is None else self._put_together(row, held) for row in rows]

    def _keep(self, name: str, items: Any) -> None:
        if name in self._lists:
            self._lists.move_to_end(name)
            return
        self._lists[name] = items
        self._items += len(items)
        while self._items > self._most and len(self._lists) > 1:
            _, gone = self._lists.popitem(last=False)
            self._items -= len(gone)

    def _put_together(self, told: Abilities, held: Mapping[str, Any]) -> EngineAbilities:
        key = abilities_key(told)
        whole = self._whole.get(key)
        if whole is not None:
            self._whole.move_to_end(key)
            return whole
        found = {name: held.get(one) for name, one in named_lists(told).items()}
        whole = EngineAbilities(
            key=key,
            comfyui_version=told.comfyui_version,
            comfyui_commit=told.comfyui_commit,
            node_types=found.get("node_types"),
            node_packs=found.get("node_packs"),
            model_files=found.get("models"),
            places_models=told.places_models,
            allows_pickle=told.allows_pickle,
        )
        if None in found.values():
            return replace(whole, complete=False)
        self._whole[key] = whole
        while len(self._whole) > _MOST_WHOLE:
            self._whole.popitem(last=False)
        return whole


_MOST_WHOLE = 256


def _read(data: Mapping[str, Any] | None) -> Abilities | None:
    try:
        return None if data is None else from_wire(Abilities, data)
    except NotAMessage:
        return None


def _made(name: ListName, items: list[Any]) -> Any:
    if name == "node_types":
        return frozenset(items)
    kind: type[Any] = NodePack if name == "node_packs" else ModelFile
    return tuple(from_wire(kind, item) for item in items)
