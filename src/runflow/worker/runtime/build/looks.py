"""Looks at runtimes without a boot for each: forked out of their ComfyUI without packs, which is imported already.

What is forked from has one environment and one ComfyUI, no network, no graphics card, and only ever looks: no run comes
near it. It imports nothing of a pack; each look does that in a child that is shut in as an engine is, sees the packs of
that runtime alone, and is ended. Whatever a look does not find to be whole is booted, and that says what holds.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boot import SECRET_VARIABLE, OwnedSettings, secret_headers, until_ready
from runflow.worker.engine.forks.fork_server import ForkedEngine, ForkRefused, ForkServer, Wish
from runflow.worker.engine.forks.supervisor import EVERYTHING
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung
from runflow.worker.engine.isolation.view import OWN_LINKS, OWN_PACKS
from runflow.worker.engine.listening_socket import ListeningSocket
from runflow.worker.engine.process import default_limit_bytes
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.run_files import Life
from runflow.worker.runtime.build.checking import Candidate, Checked, boot_runtime, failed_imports
from runflow.worker.runtime.build.manifest import RuntimeAsk
from runflow.worker.runtime.build.steps import BuildReport
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError

log = structlog.get_logger(__name__)

IDLE_SECONDS = 600.0
"""How long what looks are forked from stays without one: it holds some hundred megabytes."""
MOST_KEPT = 2
_LOOK_SECONDS = 300.0
"""How long the import of packs may take in a look; a boot may take longer."""
_WATCH_SECONDS = 0.5


class Looks:
    """What says of runtimes whether they work. `close` it after the last look."""

    def __init__(self, workshop: Workshop, idle_seconds: float = IDLE_SECONDS) -> None:
        """Look at runtimes that were made in a workshop."""
        self._workshop = workshop
        self._idle_seconds = idle_seconds
        self._kept: dict[tuple[Path, Path], _Imported] = {}
        self._refused: set[tuple[Path, Path]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    async def look(self, candidate: Candidate, ask: RuntimeAsk, report: BuildReport) -> Checked:
        """Return what a runtime has, seen in a fork, or in a boot where that is not possible or finds a fault.

        Raises `ClassesMissing`, and InstallError where it does not start.
        """
        async with self._one_at_a_time:
            try:
                found = await self._forked(candidate, ask)
            except (ForkRefused, EngineError, InstallError, OSError) as refused:
                log.info("A runtime is booted to look at it.", reason=str(refused))
                report.note(f"It is booted to look at it: {str(refused).splitlines()[0]}")
                found = None
        if found is not None and not found.not_imported and {*ask.node_types} <= {*found.node_types}:
            return found
        # A graphics card, or the order in which ComfyUI imports, may make a difference: a boot has the last word.
        return await boot_runtime(candidate, ask, report)

    async def close(self) -> None:
        """End what looks are forked from."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
        async with self._one_at_a_time:
            while self._kept:
                await self._kept.popitem()[1].close()

    async def _forked(self, candidate: Candidate, ask: RuntimeAsk) -> Checked | None:
        key = candidate.tree, candidate.environment.root
        if key in self._refused:
            return None
        one = self._kept.get(key)
        if one is None or not one.running:
            one = await self._started(key, candidate)
        try:
            return await one.look(candidate, [pack.name for pack in ask.packs])
        finally:
            one.used_at = time.monotonic()

    async def _started(self, key: tuple[Path, Path], candidate: Candidate) -> "_Imported":
        """Import a ComfyUI for looks, in the place of the one that was used longest ago."""
        if (ended := self._kept.pop(key, None)) is not None:
            await ended.close()
        while len(self._kept) >= MOST_KEPT:
            oldest = min(self._kept, key=lambda one: self._kept[one].used_at)
            await self._kept.pop(oldest).close()
        one = _Imported(candidate)
        try:
            # Nobody removes what is imported from.
            one.held.enter_context(self._workshop.trees.use(candidate.tree.parent.name))
            one.held.enter_context(self._workshop.environments.use(candidate.environment.root.parent.name))
            await one.open()
        except BaseException as error:
            await one.close()
            if isinstance(error, ForkRefused):
                self._refused.add(key)
            raise
        self._kept[key] = one
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy(), name="idle looks")
        return one

    async def _tidy(self) -> None:
        """End what nobody has looked with for long, until there is nothing."""
        while self._kept:
            oldest = min(one.used_at for one in self._kept.values())
            await asyncio.sleep(max(0.0, oldest + self._idle_seconds - time.monotonic()))
            async with self._one_at_a_time:
                for key, one in list(self._kept.items()):
                    if not one.running or time.monotonic() - one.used_at >= self._idle_seconds:
                        await self._kept.pop(key).close()


@dataclass
class _Imported:
    """One ComfyUI without packs that looks are forked from."""

    candidate: Candidate
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    used_at: float = field(default_factory=time.monotonic)
    home: EngineHome | None = None
    server: ForkServer | None = None

    @property
    def running(self) -> bool:
        """Whether it can be forked."""
        return self.server is not None and self.server.running

    async def open(self) -> None:
        """Import it. Raises `ForkRefused` where nothing is forked here, EngineError, OSError."""
        base = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="runflow-look-"))
        self.held.callback(shutil.rmtree, base, ignore_errors=True)
        environment = self.candidate.environment
        settings = OwnedSettings(
            self.candidate.tree,
            base / "engine",
            python=environment.python,
            cpu=True,
            enclosed=True,
            network=False,
            is_strangers=True,
            more_folders=lambda: (environment.root,),
        )
        home = self.home = EngineHome(settings)
        await home.open()
        sandbox = home.sandbox
        if sandbox.rung is not Rung.NAMESPACES or not sandbox.layered:
            raise ForkRefused("nothing is forked here.")
        if sandbox.privileged and sandbox.users is None:
            raise ForkRefused("engines have root's user id here.")
        # As root always a user namespace, as of fork servers of engines (`forks/supervisor.py`).
        home.sandbox = replace(sandbox, mapped=True, gpu=False)
        server = self.server = ForkServer(
            home.runtime,
            home.sandbox,
            home.lives,
            {**home.environment(), SECRET_VARIABLE: secrets.token_urlsafe(32)},
            home.base_dir / "forks.log",
        )
        complaints = await server.start(Wish(EVERYTHING, tuple(home.main_arguments(0))))
        if complaints:
            raise ForkRefused(f"{next(iter(complaints))} leaves behind what no fork survives.")

    async def look(self, candidate: Candidate, packs: Sequence[str]) -> Checked:
        """Fork an engine that has these packs of a runtime, and return what it has. Raises EngineError, OSError."""
        home, server = self.home, self.server
        assert home is not None and server is not None
        life = await asyncio.to_thread(home.new_life)
        listening = ListeningSocket(home.base_dir / "sockets")
        secret = secrets.token_urlsafe(32)
        client = ComfyClient("http://engine", headers=secret_headers(secret), socket_path=str(listening.path))
        log_path = home.base_dir / f"look-{life.name}.log"
        engine: ForkedEngine | None = None
        watch: asyncio.Task[None] | None = None
        try:
            places = await asyncio.to_thread(_lay, life.root, candidate.comfyui, home, packs)
            engine = await server.fork(
                life.name,
                life.number,
                listening.fileno(),
                {SECRET_VARIABLE: secret},
                log_path,
                file_bytes=home.disk_limit,
                packs=places,
            )
            watch = asyncio.create_task(_watch(engine, life, home.disk_limit), name="look")
            await until_ready(engine, client, _LOOK_SECONDS, log_path, None)
            if (fault := await server.held(engine)) is not None:
                raise ForkRefused(f"a look is not held as it must be: {fault}.")
            found = await client.object_info()
            return Checked(sorted(found), await asyncio.to_thread(failed_imports, log_path))
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.wait({watch})
            await client.close()
            if engine is not None:
                await engine.kill()
            listening.close()
            await asyncio.to_thread(home.end_life, life)
            log_path.unlink(missing_ok=True)

    async def close(self) -> None:
        """End it with all that came from it."""
        if self.server is not None:
            await self.server.stop()
        if self.home is not None:
            await self.home.close()
        await asyncio.to_thread(self.held.close)


def _lay(root: Path, comfyui: Path, home: EngineHome, packs: Sequence[str]) -> list[str]:
    """Put copies of the packs into the folders of a look, and links to them; return where it will find them.

    Copies: whoever breaks into what is forked from can write there, and the runtime's own files are not there.
    """
    own, links = root / OWN_PACKS / "custom_nodes", root / OWN_LINKS
    for folder in (own.parent, own, links):
        folder.mkdir()
        folder.chmod(0o755)
    nodes = home.base_dir / "custom_nodes"
    for entry in nodes.iterdir():
        if entry.is_symlink():
            (links / entry.name).symlink_to(os.path.normpath(nodes / entry.readlink()))
    places = []
    for name in packs:
        shutil.copytree(comfyui / "custom_nodes" / name, own / name, symlinks=True)
        (links / name).unlink(missing_ok=True)
        (links / name).symlink_to(home.settings.comfy_dir.absolute() / "custom_nodes" / name)
        places.append(str(nodes / name))
    return places


async def _watch(engine: ForkedEngine, life: Life, most_on_disk: int) -> None:
    """End a look that takes more of the machine than an engine may."""
    most = default_limit_bytes()
    while engine.running:
        usage = await asyncio.to_thread(life.files.usage)
        if engine.memory_bytes(children=True) > most or usage.size_bytes > most_on_disk or not usage.is_whole:
            await engine.kill()
            return
        await asyncio.sleep(_WATCH_SECONDS)
