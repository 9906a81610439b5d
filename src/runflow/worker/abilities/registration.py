"""What a worker says of itself to the server: its state, and what its engine can run."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from runflow.protocol.abilities import (
    MOST_MODELS,
    MOST_NODE_PACKS,
    MOST_NODE_TYPES,
    Abilities,
    AbilityLists,
    ModelFile,
    NodePack,
    Sandbox,
    list_hash,
)
from runflow.protocol.runtimes import Builds
from runflow.protocol.workers import Registered, Registration
from runflow.worker.abilities.checkouts import read_checkout
from runflow.worker.abilities.model_files import LONGEST_PATH, Stamp, Unreadable, is_same, list_models, shown_roots
from runflow.worker.engine.attached import credential_headers
from runflow.worker.engine.base import EngineDescription, EngineError, EngineKind, SandboxFacts
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.runtime.record import read_record
from runflow.worker.server_api.connection import Connection
from runflow.worker.settings import WorkerSettings
from runflow.worker.store.own_models import OwnModels

log = structlog.get_logger()

LOOK_SECONDS = 30.0
"""How often the model folders are looked at: a file that was put there is known to the server so soon."""
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of an engine; a list is None where that cannot be told."""

    node_types: list[str] | None
    node_packs: list[NodePack] | None
    models: list[ModelFile] | None
    stamp: Stamp
    comfyui_version: str
    comfyui_commit: str | None
    is_owned: bool


async def no_folders() -> tuple[Path, ...]:
    """Return what engines see beside ComfyUI's own folders that are shown nothing else."""
    return ()


class Registrar:
    """Finds out what the engine can run, tells the server, and notices when models come or go.

    `look_seconds`: how often it looks. `folders` returns those of models that engines in a sandbox see beside ComfyUI's
    own; `own` knows what files in them hold.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        folders: Callable[[], Awaitable[tuple[Path, ...]]] = no_folders,
        own: OwnModels | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._settings = settings
        self._look_seconds = look_seconds
        self._folders = folders
        self._own = own
        self._learned = 0
        self._shown: tuple[Path, ...] = ()
        self._of: EngineDescription | None = None
        self._found: _Found | None = None
        self._said: str | None = None
        self._told: tuple[Abilities | None, Sandbox | None] = None, None

    async def until_changed(self, changed: asyncio.Event) -> None:
        """Wait until `changed` is set, or the model files are others than those that were told last."""
        while True:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await changed.wait()
                    return
            except TimeoutError:
                if await self._has_other_models():
                    return

    async def register(
        self, connection: Connection, registration: Registration, description: EngineDescription | None
    ) -> Registered:
        """Register with what the engine can run, and once more with the lists that the server asks for."""
        if description is None:
            # Between two engines it can do what it could: nothing is to be found out anew for that.
            abilities, sandbox = self._told
            return await connection.register(replace(registration, abilities=abilities, sandbox=sandbox))
        found = await self._look(description)
        abilities = Abilities(
            comfyui_version=found.comfyui_version[:_LONGEST_NAME],
            comfyui_commit=found.comfyui_commit,
            node_types=_named(found.node_types),
            node_packs=_named(found.node_packs),
            models=_named(found.models),
            places_models=found.is_owned,
            fetches_addresses=found.is_owned,
            allows_pickle=self._settings.allow_pickle,
            builds=self._settings.builds if found.is_owned else Builds.OFF,
        )
        self._told = abilities, self._sandbox(description)
        whole = replace(registration, abilities=abilities, sandbox=self._told[1])
        answer = await connection.register(whole)
        if answer.wants:
            lists = {name: getattr(found, name) for name in answer.wants if name in _LISTS}
            answer = await connection.register(replace(whole, lists=AbilityLists(**lists)))
            if answer.wants:
                log.warning(
                    "The server gives no work: it still wants lists that it was sent, or that this release does not "
                    "know. Install the same Runflow release on both.",
                    wants=answer.wants,
                )
        return answer

    def _sandbox(self, description: EngineDescription) -> Sandbox | None:
        facts = description.sandbox
        if facts is None and description.kind is EngineKind.ATTACHED:
            facts = SandboxFacts("none", False, None, "A ComfyUI that somebody else runs is isolated from nothing.")
        if facts is None:
            return None
        return Sandbox(
            rung=facts.rung,
            separates_files=facts.separates_files,
            isolation=str(self._settings.isolation),
            fork_level=facts.fork_level,
            why_not_better=facts.why_not_better,
        )

    async def _look(self, description: EngineDescription) -> _Found:
        """Return what there is: packs and classes as the engine has loaded them, models as they are now."""
        before, self._of = self._of, description
        found = self._found
        if found is None or before is None or replace(before, sandbox=None) != replace(description, sandbox=None):
            is_owned = description.kind is EngineKind.OWNED
            packs, commit = await asyncio.to_thread(self._on_disk) if is_owned else (None, None)
            found = _Found(_node_types(description), packs, None, (), description.version, commit, is_owned)
        models, stamp = await self._models(description)
        self._found = replace(found, models=models, stamp=stamp)
        return self._found

    def _on_disk(self) -> tuple[list[NodePack] | None, str | None]:
        comfyui = self._settings.comfyui_dir
        checkout, record = read_checkout(comfyui), read_record(comfyui)
        commit = (checkout.commit if checkout else None) or (record.commit if record else None)
        return node_packs(comfyui / "custom_nodes"), commit

    async def _models(self, description: EngineDescription) -> tuple[list[ModelFile] | None, Stamp]:
        try:
            if description.kind is EngineKind.ATTACHED:
                return await models_of_attached(description.url), ()
            self._shown = await self._folders()
            return await asyncio.to_thread(self._list)
        except Unreadable as why:
            if str(why) != self._said:
                self._said = str(why)
                log.warning("No run is kept away for a model that is missing here.", reason=str(why))
            return None, ()

    def _list(self) -> tuple[list[ModelFile], Stamp]:
        roots = shown_roots(self._settings.comfyui_dir, self._shown)
        if self._own is None:
            return list_models(roots)
        self._learned = self._own.learned
        return list_models(roots, self._own.known.known)

    async def _has_other_models(self) -> bool:
        found, description = self._found, self._of
        if found is None or description is None:
            return False
        has_learned = self._own is not None and self._own.learned != self._learned
        if found.stamp and not has_learned and self._shown == await self._folders():
            same: bool = await asyncio.to_thread(is_same, found.stamp)
            if same:
                return False
        models, stamp = await self._models(description)
        is_other = models != found.models
        self._found = replace(found, stamp=stamp, models=found.models if is_other else models)
        return is_other


_LISTS = frozenset({"node_types", "node_packs", "models"})


def _named(items: Sequence[Any] | None) -> str | None:
    return None if items is None else list_hash(items)


def _node_types(description: EngineDescription) -> list[str] | None:
    """Return the classes in order; None where there are too many, or none was read."""
    names = sorted(name for name in description.node_types if 0 < len(name) <= _LONGEST_NAME and "\0" not in name)
    return names if 0 < len(names) <= MOST_NODE_TYPES else None


def node_packs(folder: Path) -> list[NodePack]:
    """Return the node packs in a `custom_nodes` folder, by name, with where they come from."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    found = []
    for entry in entries:
        name = entry.name
        if name.startswith((".", "__")) or len(name) > _LONGEST_NAME or name.endswith(".disabled"):
            continue
        if entry.is_dir():
            checkout = read_checkout(entry)
            origin, commit = (checkout.origin, checkout.commit) if checkout else (None, None)
            found.append(NodePack(folder=_printable(name), origin=origin, commit=commit))
        elif entry.suffix == ".py":
            found.append(NodePack(folder=_printable(name)))
    return found[:MOST_NODE_PACKS]


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


async def models_of_attached(url: str, environ: Mapping[str, str] | None = None) -> list[ModelFile] | None:
    """Return the models that an engine at a URL offers, by its names for them; None where it does not say."""
    headers = credential_headers(environ if environ is not None else os.environ)
    async with ComfyClient(url, headers=headers) as client:
        try:
            paths = [path for path in await client.model_files() if len(path) <= LONGEST_PATH and "\0" not in path]
        except (EngineError, ValueError):
            return None
        return [ModelFile(path=path) for path in paths] if len(paths) <= MOST_MODELS else None


def engine_on_wire(description: EngineDescription) -> dict[str, Any]:
    """Return what the operator is shown of an engine."""
    return {
        "kind": description.kind.value,
        "comfyui_version": description.version,
        "has_plugin": description.plugin,
        "python": description.python,
        "torch": description.torch,
        "device": description.device_name,
        "abilities": sorted(ability.value for ability in description.abilities),
        "isolation": list(description.isolation),
    }
