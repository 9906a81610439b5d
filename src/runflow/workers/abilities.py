"""What workers' engines can run, read once per list and kept in memory by its hash.

Lists never change under their hash, so copies need no invalidation.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import orjson
import structlog

from runflow.db.sized_memory import SizedMemory
from runflow.db.transaction import Transaction
from runflow.protocol.abilities import (
    LIST_NAMES,
    SAME_KIND,
    Abilities,
    AbilityLists,
    ListName,
    ModelFile,
    NodePack,
    Sandbox,
    list_hash,
)
from runflow.protocol.codec import NotAMessage, from_wire, to_wire
from runflow.protocol.runtimes import Builds
from runflow.web.services import Services
from runflow.workers import ability_queries

log = structlog.get_logger()

MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of lists that a process keeps in memory: of twenty engines with 5,000 classes and 20,000 models each, or
of a thousand with a few hundred."""


def model_key(path: str) -> str:
    """Return a model's path in the one form in which paths are compared."""
    plain = path.replace("\\", "/").removeprefix("./").strip("/")
    kind, slash, name = plain.partition("/")
    return f"{SAME_KIND.get(kind, kind)}{slash}{name}"


class ModelIndex:
    """The model files of an engine, found by path, or by a path below a kind's folder."""

    def __init__(self, files: Iterable[ModelFile]) -> None:
        """Index these files."""
        self._by_key = {model_key(file.path): file for file in files}
        self.contents = frozenset(file.sha256 for file in self if file.sha256 is not None)
        """The SHA-256 of each file whose worker knows it."""
        self._by_name: dict[str, list[str]] = {}
        for key in self._by_key:
            self._by_name.setdefault(_name_of(key), []).append(key)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_key)

    def __iter__(self) -> Iterator[ModelFile]:
        """Yield the files."""
        return iter(self._by_key.values())

    def find(self, path: str) -> ModelFile | None:
        """Return the file of this path below `models/`; of a bare name, or a path below a kind's folder, any."""
        key = model_key(path)
        found = self._by_key.get(key)
        if found is not None:
            return found
        below = f"/{key}"
        return next((self._by_key[one] for one in self._by_name.get(_name_of(key), ()) if one.endswith(below)), None)


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


@dataclass(frozen=True)
class EngineAbilities:
    """What an engine can run. A list is None where its worker cannot tell.

    `key` names all of it. `complete`: every list that the worker named is known to the server, and can be read.
    """

    key: str
    comfyui_version: str | None = None
    comfyui_commit: str | None = None
    node_types: frozenset[str] | None = None
    node_packs: tuple[NodePack, ...] | None = None
    models: ModelIndex | None = None
    places_models: bool = False
    fetches_addresses: bool = False
    allows_pickle: bool = False
    builds: Builds = Builds.OFF
    complete: bool = True


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
    """Return what a worker told of its sandbox, None where it told nothing.

    Of what cannot be read (any more) it is not believed that it keeps anything apart.
    """
    try:
        return None if data is None else from_wire(Sandbox, data)
    except NotAMessage:
        return _UNREADABLE_SANDBOX


_UNREADABLE_SANDBOX = Sandbox(
    rung="unknown",
    separates_files=False,
    isolation="organization",
    why_not_better="what it told of its sandbox cannot be read",
)


class _Unreadable:
    """Stands for a list that is not what its worker says it is."""


_UNREADABLE = _Unreadable()
_Kept = frozenset[str] | tuple[NodePack, ...] | ModelIndex | _Unreadable
_Named = tuple[ListName, str]
"""What a list is said to be, and its hash: one worker may take for models what are node classes of another."""


MOST_STORED_BYTES = 4 * 1024 * 1024
"""So much of lists is read at once, in bytes as they are stored, which are several times more in memory."""

_LONG_CHARACTERS = 64 * 1024


class AbilityMemory:
    """Lists by their hash, the least recently used one leaving first, bounded by about how many bytes they take."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Keep at most so many bytes."""
        self._lists: SizedMemory[_Named, _Kept] = SizedMemory(max_bytes)
        self._in_use: WeakValueDictionary[_Named, frozenset[str] | ModelIndex] = WeakValueDictionary()
        """What has left, or did not fit, but is held by others all the same: reading it again would make a second."""

    async def read(self, transaction: Transaction, told: Iterable[Mapping[str, Any] | None]) -> list[Told]:
        """Return the abilities of workers' rows, in their order; what is not in memory is read, many lists in a query.

        Who told what cannot be read has not told everything yet.
        """
        rows = [_read(data) for data in told]
        named = {one for row in rows if isinstance(row, Abilities) for one in named_lists(row).items()}
        held = {one: kept for one in named if (kept := self._held(one)) is not None}
        missing = named - held.keys()
        while missing:
            hashes = sorted({one for _, one in missing})
            found = await ability_queries.lists(transaction, hashes, most_stored=MOST_STORED_BYTES)
            texts = {row.hash: row.items for row in found}
            batch = [(name, one, texts[one]) for name, one in missing if one in texts]
            if not batch:
                break
            # Long lists take their time, and so do many short ones; the loop serves others meanwhile.
            is_long = sum(len(text) for _, _, text in batch) > _LONG_CHARACTERS
            for named_so, made, size in await asyncio.to_thread(_all_made, batch) if is_long else _all_made(batch):
                held[named_so] = made
                self._lists.put(named_so, made, size)
                if isinstance(made, frozenset | ModelIndex):
                    self._in_use[named_so] = made
            missing -= held.keys()
        return [_put_together(row, held) if isinstance(row, Abilities) else row for row in rows]

    def _held(self, one: _Named) -> _Kept | None:
        kept = self._lists.get(one)
        return self._in_use.get(one) if kept is None else kept


def ability_memory(_services: Services) -> AbilityMemory:
    """Return the one memory of a process; `services.part(ability_memory)` gives it."""
    return AbilityMemory()


def _all_made(batch: Iterable[tuple[ListName, str, str]]) -> list[tuple[_Named, _Kept, int]]:
    found = []
    for name, one, text in batch:
        made = _made(name, one, text)
        found.append(((name, one), made, _size(made)))
    return found


def _put_together(told: Abilities, held: Mapping[_Named, _Kept]) -> EngineAbilities:
    found: dict[str, Any] = {name: held.get((name, one)) for name, one in named_lists(told).items()}
    if any(one is None or one is _UNREADABLE for one in found.values()):
        return EngineAbilities(abilities_key(told), complete=False)
    return EngineAbilities(
        key=abilities_key(told),
        comfyui_version=told.comfyui_version,
        comfyui_commit=told.comfyui_commit,
        node_types=found.get("node_types"),
        node_packs=found.get("node_packs"),
        models=found.get("models"),
        places_models=told.places_models,
        fetches_addresses=told.fetches_addresses,
        allows_pickle=told.allows_pickle,
        builds=told.builds,
    )


def _read(data: Mapping[str, Any] | None) -> Abilities | Told:
    try:
        return None if data is None else from_wire(Abilities, data)
    except NotAMessage:
        return _NOT_READ


_NOT_READ = EngineAbilities("", complete=False)


def _made(name: ListName, one: str, text: str) -> _Kept:
    try:
        items = orjson.loads(text)
        if not isinstance(items, list):
            raise NotAMessage("it is no array")
        if name == "node_types":
            if not all(isinstance(item, str) for item in items):
                raise NotAMessage("it holds other things than names")
            return frozenset(items)
        if name == "node_packs":
            return tuple(from_wire(NodePack, item) for item in items)
        return ModelIndex(from_wire(ModelFile, item) for item in items)
    except (NotAMessage, orjson.JSONDecodeError) as error:
        # Once, for it is remembered like any other list.
        log.warning(
            "a list of what workers can do cannot be read: they get no runs until they tell another one",
            list=name,
            hash=one,
            error=str(error),
        )
        return _UNREADABLE


def _size(kept: _Kept) -> int:
    """Return about how many bytes a list takes: CPython's objects, and what finds them."""
    if isinstance(kept, frozenset):
        return sum(150 + len(name) for name in kept)
    if isinstance(kept, tuple):
        return sum(250 + len(pack.folder) + len(pack.origin or "") for pack in kept)
    return sum(600 + 2 * len(file.path) for file in kept) if isinstance(kept, ModelIndex) else 100
