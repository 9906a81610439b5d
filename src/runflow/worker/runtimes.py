"""The runtimes that a worker's runs need beside its own ComfyUI: built when a run comes for one, each with a home.

A home keeps its runtime from being removed, and its fork server starts with its first engine; both are let go of when
no engine of it has been there for long.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import orjson
import structlog

from runflow.protocol.bounds import MAX_SENTENCE
from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.protocol.named_packs import OFFICIAL_REPOSITORY
from runflow.protocol.origins import canonical, is_commit
from runflow.protocol.runtimes import MAX_BUILD_LOG, BuildOrder, BuildReport, Builds, SourceCommit
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.engine.base import Engine, EngineError
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_supervisor import NoEngine
from runflow.worker.runtime.build.builder import BuiltRuntime, RuntimeBuilder
from runflow.worker.runtime.build.failed import RuntimeBuildFailed, SourceNotApproved
from runflow.worker.runtime.build.folder import RECORD, Runtime, RuntimeInUse, RuntimeMissing
from runflow.worker.runtime.build.manifest import ManifestRefused, RuntimeAsk, read_manifest
from runflow.worker.runtime.build.steps import failure_of
from runflow.worker.runtime.commands import InstallError, in_thread
from runflow.worker.runtime.sources.mirrors import MayFetch, anything
from runflow.worker.store.fetch.progress import Tell

log = structlog.get_logger()

IDLE_SECONDS = 600.0
"""How long a home stays without an engine."""
_TIDY_SECONDS = 30.0
_MOST_TOLD = 10_000
_STAND_IN_SECONDS = 24 * 3600.0
"""How long a release does in the place of a commit that could not be fetched, before that is tried again."""
_EVICT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A runtime that is there; an empty name is the worker's own ComfyUI. `report`: how its build went, if one did."""

    name: str
    report: BuildReport | None = None


class RuntimeWanted(Protocol):
    """A version whose runtime is wanted, as a lease names it."""

    @property
    def build(self) -> BuildOrder | None:
        """What may be fetched for it; None: the worker's own ComfyUI has everything."""

    @property
    def version_id(self) -> UUID:
        """The version."""

    @property
    def fingerprint(self) -> str:
        """What the server calls it."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it is built of."""

    @property
    def prompt(self) -> dict[str, dict[str, Any]]:
        """What it has to execute."""

    @property
    def tracebacks(self) -> bool:
        """Whether who hears of it may know what it is made of."""


class GaveWay(Exception):
    """A run needs the worker's builder, so what was only prepared is not built now."""


def name_of(ask: RuntimeAsk) -> str:
    """Return the name of the runtime that has what is asked for, made of all that decides what it holds.

    A version's fingerprint is made of what its author sent, and two of those may be read as one thing here or as two.
    """
    packs = [[pack.name, pack.origin, pack.commit] for pack in ask.packs]
    core = [ask.comfyui.origin, ask.comfyui.commit, ask.comfyui.version]
    told = orjson.dumps([core, packs, dict(ask.packages)], option=orjson.OPT_SORT_KEYS)
    return f"runtime-{hashlib.sha256(told).hexdigest()[:32]}"


MakeSettings = Callable[[BuiltRuntime, Path], OwnedSettings]
"""Returns how engines of a runtime are started, with a base folder of their own."""


@dataclass(slots=True)
class _Home:
    built: BuiltRuntime
    home: EngineHome
    held: contextlib.ExitStack
    used_at: float = field(default_factory=time.monotonic)
    is_closing: bool = False
    warming: asyncio.Task[None] | None = None


class WorkerRuntimes:
    """Has runtimes built and finds engines of them. `make_settings` says how these are started.

    `bases` is a folder of this worker, for what engines of each runtime write. `prepare` is told of each new home.
    """

    def __init__(
        self,
        builder: RuntimeBuilder,
        bases: Path,
        make_settings: MakeSettings,
        *,
        builds: Builds,
        prepare: Callable[[EngineHome], None] = lambda _: None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.builds = builds
        self._builder = builder
        self._bases = bases
        self._make_settings = make_settings
        self._prepare = prepare
        self._idle_seconds = idle_seconds
        self._one_at_a_time = asyncio.Semaphore(1)
        self._giving_way: dict[str, asyncio.Task[Any] | None] = {}
        self._told: set[tuple[UUID, str]] = set()
        self._built: dict[str, BuiltRuntime] = {}
        self._homes: dict[str, _Home] = {}

    async def prepare(self, wanted: RuntimeWanted, tell: Tell) -> Ready:
        """Do as `ready` before a run comes, also where a build failed for good a short while ago.

        A run that needs a build of another runtime goes first: then it raises `GaveWay`.
        """
        working = asyncio.create_task(self.ready(wanted, tell, gives_way=True), name="prepare a runtime")
        try:
            return await working
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                raise
            raise GaveWay from None

    async def ready(self, lease: RuntimeWanted, tell: Tell, *, gives_way: bool = False) -> Ready:
        """Make sure that the runtime of a lease is there; return its name, and how its build went.

        `gives_way`: it is cancelled where somebody else has another one built. Raises `BuildFailed`, with a report.
        """
        order = lease.build
        if order is None:
            return Ready("")
        fingerprint, began, name = lease.fingerprint, time.monotonic(), None
        try:
            ask = self._asked(lease)
            name = name_of(ask)
            await in_thread(partial(self._forget_stand_in, name, ask, _may_fetch(order.approved)))
            if self._builder.workshop.runtimes.find(name) is not None:
                # As if it was to be built: then nobody removes it before its engine has it.
                built = await self._builder.ready(name, ask, may_fetch=_may_fetch(order.approved))
                self._use(built)
                self._warm(name)
                if not self._is_new(lease.version_id, name):
                    return Ready(name)
                # Another version had it built: this one is told of it once.
                log_text = await asyncio.to_thread(_tail, built.runtime.log)
                return Ready(name, BuildReport(fingerprint=fingerprint, runtime=name, succeeded=True, log=log_text))
            said = tell if lease.tracebacks else (lambda _: None)
            tell("Building the runtime of this version: its first run here waits for that.")
            async with self._turn(name, gives_way=gives_way):
                built = await self._builder.ready(
                    name, ask, may_fetch=_may_fetch(order.approved), tell=said, force=gives_way
                )
            self._use(built)
            self._warm(name)
        except (ManifestRefused, RuntimeBuildFailed, OSError) as error:
            if isinstance(error, OSError):  # of the folder of runtimes itself, before or after the steps of a build
                error = failure_of(_FOLDER, error)
            is_passing = isinstance(error, RuntimeBuildFailed) and not (error.is_permanent or error.waits_for)
            raise BuildFailed(_report_of(error, fingerprint, began, name), retryable=is_passing) from error
        seconds = time.monotonic() - began
        self._is_new(lease.version_id, name)
        tell(f"The runtime is built; that took {seconds:.0f} s.")
        report = BuildReport(
            fingerprint=fingerprint,
            runtime=name,
            succeeded=True,
            elapsed_ms=round(seconds * 1000),
            log=await asyncio.to_thread(_tail, built.runtime.log),
        )
        return Ready(name, report)

    def _forget_stand_in(self, name: str, ask: RuntimeAsk, may_fetch: MayFetch) -> None:
        """Remove a runtime with a release in the place of a commit that can be had by now, unless it is in use.

        Where the commit cannot be had, it goes on for another day.
        """
        workshop, commit = self._builder.workshop, ask.comfyui.commit
        found = workshop.runtimes.find(name)
        if found is None or commit is None or not _stands_in(found, commit):
            return
        origin = ask.comfyui.origin or OFFICIAL_REPOSITORY
        try:
            may_fetch(origin, commit)
            workshop.mirrors.fetch(origin, commit)
            workshop.runtimes.remove(name)
        except (RuntimeInUse, RuntimeMissing):
            return
        except InstallError as error:
            log.info("A release goes on in the place of a commit of ComfyUI.", runtime=name, reason=str(error))
            with contextlib.suppress(FileNotFoundError):
                os.utime(found.folder / RECORD)
            return
        log.info("The runtime is built anew with the commit, for which a release stood in.", runtime=name)

    @contextlib.asynccontextmanager
    async def _turn(self, name: str, *, gives_way: bool) -> AsyncIterator[None]:
        """Build one at a time; what only prepares makes way for what a run waits for."""
        if gives_way:
            self._giving_way[name] = asyncio.current_task()
        else:
            for other, task in self._giving_way.items():
                if other != name and task is not None:
                    task.cancel()
        try:
            async with self._one_at_a_time:
                yield
        finally:
            if gives_way:
                self._giving_way.pop(name, None)

    def engine(self, name: str) -> Engine:
        """Return an engine of a runtime, not started. Raises `NoEngine`."""
        one = self._home(name)
        return OwnedEngine(one.home.settings, one.home)

    def _home(self, name: str) -> _Home:
        """Return the home of a runtime, made where there is none. Raises `NoEngine`."""
        built = self._built.get(name)
        if built is None:
            raise NoEngine(f"The runtime {name} is not ready.")
        one = self._homes.get(name)
        if one is not None and one.is_closing:
            raise NoEngine(f"The runtime {name} is being let go of.")
        if one is None:
            held = contextlib.ExitStack()
            try:
                held.enter_context(self._builder.workshop.runtimes.use(name))
            except RuntimeMissing as missing:
                del self._built[name]
                raise NoEngine(str(missing)) from missing
            except OSError as error:
                raise NoEngine(f"The runtime {name} cannot be used: {error.strerror}.") from error
            home = EngineHome(self._make_settings(built, self._bases / name[-16:]))
            self._prepare(home)
            one = self._homes[name] = _Home(built, home, held)
        one.used_at = time.monotonic()
        return one

    def _warm(self, name: str) -> None:
        """Have the fork server of a runtime started while its run still waits for files: then its engine is forked."""
        try:
            one = self._home(name)
        except NoEngine:
            return  # whoever asks for an engine hears of it
        if one.warming is None and one.home.settings.enclosed:
            node_types = frozenset(map(str, one.built.runtime.record()["node_types"]))
            one.warming = asyncio.create_task(_warmed(one.home, node_types), name="warm a runtime")

    @property
    def homes(self) -> list[EngineHome]:
        """The homes that are there."""
        return [one.home for one in self._homes.values()]

    async def keep_tidy(self, in_use: Callable[[], Collection[str]]) -> None:
        """Let go of homes that are idle, and remove runtimes that are too many. `in_use`: those that have engines."""
        evict_at = time.monotonic() + _TIDY_SECONDS
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            await self.close_idle(in_use())
            if time.monotonic() >= evict_at:
                evict_at = time.monotonic() + _EVICT_SECONDS
                await self._evict()

    async def close_idle(self, in_use: Collection[str]) -> None:
        """Let go of homes without an engine that were used long ago."""
        now = time.monotonic()
        for fingerprint, one in list(self._homes.items()):
            if fingerprint in in_use:
                one.used_at = now
            elif now - one.used_at > self._idle_seconds:
                await self._close(fingerprint)

    async def close(self) -> None:
        """Let go of all homes, and of what the builder keeps."""
        for fingerprint in list(self._homes):
            await self._close(fingerprint)
        await self._builder.close()

    async def _close(self, fingerprint: str) -> None:
        one = self._homes[fingerprint]
        if one.is_closing:
            return
        one.is_closing = True
        try:
            if one.warming is not None:
                one.warming.cancel()
                await asyncio.wait({one.warming})
            await one.home.close()
        finally:
            self._homes.pop(fingerprint, None)
            one.held.close()

    async def _evict(self) -> None:
        try:
            for runtime in await asyncio.to_thread(self._builder.workshop.evict):
                self._built.pop(runtime.fingerprint, None)
                log.info("A runtime was removed.", fingerprint=runtime.fingerprint)
        except Exception:
            log.exception("Runtimes are not removed, though they may be too many.")

    def _is_new(self, version_id: UUID, name: str) -> bool:
        """Tell whether nobody was told yet that a version has this runtime here."""
        if (version_id, name) in self._told:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add((version_id, name))
        return True

    def _use(self, built: BuiltRuntime) -> None:
        self._built[built.runtime.fingerprint] = built

    def _asked(self, lease: RuntimeWanted) -> RuntimeAsk:
        manifest = lease.manifest
        return read_manifest(
            manifest.get("environment"),
            manifest.get("custom_nodes"),
            lease.prompt,
            allowed_prefixes=self._builder.workshop.allowed_prefixes,
        )


async def _warmed(home: EngineHome, node_types: frozenset[str]) -> None:
    try:
        await home.warm(node_types)
    except (EngineError, OSError) as error:
        log.info("A runtime is not prepared ahead.", reason=str(error))  # its first engine says what is wrong


class BuildFailed(RunFailed):
    """The runtime of a run cannot be had. `report` tells the server how that went."""

    def __init__(self, report: BuildReport, *, retryable: bool) -> None:
        self.report = report
        super().__init__(
            Failure(
                FailureCode.RUNTIME_BUILD_FAILED,
                Stage.PREPARE,
                (report.message or "The runtime could not be built.")[:MAX_SENTENCE],
                details={"fingerprint": report.fingerprint, "step": report.step, "pack": report.pack},
                retryable=retryable,
            )
        )


_MANIFEST, _FOLDER = "manifest", "folder"


def _stands_in(runtime: Runtime, commit: str) -> bool:
    """Tell whether a runtime was built long ago with a release, for git did not reach the commit that is asked for."""
    try:
        if runtime.record()["comfyui"]["commit"] == commit:
            return False
        return time.time() - (runtime.folder / RECORD).stat().st_mtime > _STAND_IN_SECONDS
    except FileNotFoundError:  # removed meanwhile
        return False


def _report_of(
    error: ManifestRefused | RuntimeBuildFailed, fingerprint: str, began: float, name: str | None
) -> BuildReport:
    elapsed = round((time.monotonic() - began) * 1000)
    if isinstance(error, ManifestRefused):
        return BuildReport(
            fingerprint=fingerprint,
            succeeded=False,
            is_permanent=True,
            elapsed_ms=elapsed,
            step=_MANIFEST,
            message=str(error),
        )
    return BuildReport(
        fingerprint=fingerprint,
        runtime=name,
        succeeded=False,
        is_permanent=error.is_permanent and error.waits_for is None,
        elapsed_ms=elapsed,
        step=error.step,
        pack=error.pack,
        message=error.message,
        log=_tail(error.log_path) if error.log_path is not None else "",
        waits_for=SourceCommit(*error.waits_for) if error.waits_for is not None else None,
    )


def _may_fetch(approved: list[SourceCommit] | None) -> MayFetch:
    """Return what refuses a source that is not among the approved ones; releases of ComfyUI by version are."""
    if approved is None:
        return anything
    known = {(canonical(one.origin), one.commit.lower()) for one in approved}

    def check(origin: str, commit: str) -> None:
        if is_commit(commit) and (canonical(origin), commit) not in known:
            raise SourceNotApproved(
                f"{origin} at {commit} waits for the operator's approval: `runflow sources approve {origin}@{commit}`.",
                (origin, commit),
            )

    return check


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_BUILD_LOG))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
