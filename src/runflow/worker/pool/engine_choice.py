"""Which engine a worker uses, and as which user it runs."""

import os
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from runflow.protocol.runtimes import Builds
from runflow.protocol.workers import Registered
from runflow.worker.abilities.model_files import Unreadable, named_models, shown_folders
from runflow.worker.engine.attached import AttachedEngine, credential_headers
from runflow.worker.engine.base import Engine, EngineError
from runflow.worker.engine.boot import OwnedSettings, can_run_as, default_pythons
from runflow.worker.engine.folders import own_models
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.engine.run_files import RunFiles
from runflow.worker.pool.engine_supervisor import NoEngine
from runflow.worker.runtime.build.builder import BuiltRuntime, RuntimeBuilder
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtimes import WorkerRuntimes
from runflow.worker.settings import ENGINE_USER_AUTO, ENGINE_USER_SAME, EngineNetwork, WorkerSettings

log = structlog.get_logger()

ENGINE_UID = 64_738
"""The user id, without a name or a login, that an owned engine runs as where the worker is root."""

RUN_FOLDERS = "runflow"
"""Below the engine's input, output and temp folders: one folder per run."""


_NETWORK = {EngineNetwork.AUTO: None, EngineNetwork.ON: True, EngineNetwork.OFF: False}


class EngineFinder:
    """Finds the engine of a worker, each time anew: it may be installed while the worker waits.

    Owned engines share one home (`engine.home`), which is left with `close`.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._base = settings.home / "engine"
        self._said: str | None = None
        self._unreadable: str | None = None
        self._home: EngineHome | None = None
        self._several: bool | None = None
        self.runtimes = self._runtimes()
        """The runtimes beside it; None where none are built, or the engine is not the worker's own."""

    def __call__(self) -> Engine:
        """Return the engine, not started. Raises `NoEngine`."""
        settings = self._settings
        if settings.comfyui_url is not None:
            try:
                return AttachedEngine(settings.comfyui_url, headers=credential_headers(os.environ))
            except EngineError as error:
                raise NoEngine(str(error)) from error
        comfyui = settings.comfyui_dir
        if not (comfyui / "main.py").is_file() or not any(python.exists() for python in default_pythons(comfyui)):
            raise NoEngine(
                f"There is no ComfyUI in {comfyui}. Install one: runflow comfyui install {comfyui} "
                "(or name an existing one with RUNFLOW_COMFYUI or RUNFLOW_COMFYUI_URL)."
            )
        if self._home is None:
            self._home = EngineHome(self._owned(comfyui, self._base))
            self._prepare(self._home)
        return OwnedEngine(self._home.settings, self._home)

    def _owned(self, comfyui: Path, base: Path, python: Path | None = None) -> OwnedSettings:
        """Return how engines of a ComfyUI are started."""
        settings = self._settings
        return OwnedSettings(
            comfy_dir=comfyui,
            base_dir=base,
            python=python,
            enclosed=True,
            network=_NETWORK[settings.engine_network],
            disk_limit_bytes=settings.engine_disk_bytes,
            sandbox_user=sandbox_user(settings.engine_user),
            uid_without=partial(self._uid, comfyui, base, python),
            more_folders=self._shown_folders,
        )

    def _prepare(self, home: EngineHome) -> None:
        if self._several is not None:
            home.use_network(not self._several)

    def _runtimes(self) -> WorkerRuntimes | None:
        settings = self._settings
        if settings.builds is Builds.OFF or settings.comfyui_url is not None:
            return None
        workshop = Workshop(
            settings.runtimes or settings.home / "runtimes",
            torch_index=settings.torch_index,
            allowed_prefixes=settings.git_origins,
            most_bytes=settings.runtime_bytes,
            most_days=settings.runtime_days,
        )
        return WorkerRuntimes(
            RuntimeBuilder(workshop),
            settings.home / "engines",
            self._of_runtime,
            builds=settings.builds,
            prepare=self._prepare,
        )

    def _of_runtime(self, built: BuiltRuntime, base: Path) -> OwnedSettings:
        """Return how engines of a runtime are started: with the models of the worker's own ComfyUI."""
        own = self._settings.comfyui_dir

        def more_folders() -> tuple[Path, ...]:
            return (built.environment, own / "models", *self._shown_folders())

        return replace(
            self._owned(built.comfyui, base, built.python),
            is_strangers=True,
            more_folders=more_folders,
            more_models=lambda: [*own_models(own), *named_models(own)],
        )

    def registered(self, answer: Registered) -> None:
        """Hear whether runs of more than one organization may come, on which the engines' network may hang."""
        self._several = answer.several_organizations
        for home in (self._home, *(self.runtimes.homes if self.runtimes is not None else ())):
            if home is not None:
                home.use_network(not self._several)

    async def close(self) -> None:
        """Let go of the engines' homes, and of the fork servers in them."""
        if self.runtimes is not None:
            await self.runtimes.close()
        if self._home is not None:
            await self._home.close()
            self._home = None

    async def model_folders(self) -> tuple[Path, ...]:
        """Return the folders of models, beside ComfyUI's own, that engines in a sandbox see from now on."""
        return () if self._home is None else await self._home.look_for_folders()

    def _shown_folders(self) -> tuple[Path, ...]:
        try:
            found = shown_folders(self._settings.comfyui_dir, self._settings.home)
            self._unreadable = None
            return tuple(folder for folder in found if folder.is_dir())
        except Unreadable as why:
            if str(why) != self._unreadable:
                self._unreadable = str(why)
                log.warning("Engines in a sandbox see no models of other folders.", reason=str(why))
            return ()

    def only_we_write(self) -> bool:
        """Whether no engine can write to what it finds among its models, nor take the right to."""
        home = self._home
        if home is None:
            return False
        return home.sandbox.has_lives or home.uid not in (None, os.geteuid())

    def clear_leftovers(self) -> None:
        """Remove what runs of an earlier life of this worker left in the owned engine's folders."""
        RunFiles(self._base, uid=None).clean(RUN_FOLDERS)

    def _uid(self, comfyui: Path, base: Path, python: Path | None) -> int | None:
        uid, why = user_without_sandbox(self._settings.engine_user, comfyui, base, python)
        if why is not None and why != self._said:
            self._said = why
            log.warning("The engine runs as root, because a user of its own cannot be used.", reason=why)
        return uid


def sandbox_user(choice: str) -> int | Literal["own", "same"]:
    """Return what RUNFLOW_ENGINE_USER means for an engine in a sandbox (`isolation.rungs.probe`)."""
    if choice == ENGINE_USER_AUTO:
        return "own"
    return "same" if choice == ENGINE_USER_SAME else int(choice)


def user_without_sandbox(
    choice: str, comfyui: Path, base: Path, python: Path | None = None
) -> tuple[int | None, str | None]:
    """Return the user id of an engine that no sandbox holds, None for the worker's own; and why not another one.

    `python` is what it runs with, None: what lies in the ComfyUI's folder.
    """
    if os.geteuid() != 0 or choice == ENGINE_USER_SAME:
        return None, None
    if choice != ENGINE_USER_AUTO:
        return int(choice), None
    why = _why_not_apart(comfyui, base, python)
    return (ENGINE_UID, None) if why is None else (None, why)


def _why_not_apart(comfyui: Path, base: Path, python: Path | None) -> str | None:
    if Path("/dev/kfd").exists():
        return "this GPU's device files belong to a group"
    closed = [folder for folder in base.parents if folder.exists() and not _is_open(folder)]
    if closed:
        return f"{closed[-1]} lets nobody else in"
    python = python or next(python for python in default_pythons(comfyui) if python.exists())
    if not can_run_as(ENGINE_UID, python, comfyui):
        return f"others cannot read {comfyui}, or the Python that it uses"
    return None


def _is_open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
