"""Where a worker's engines live: one base folder, the best sandbox of the machine, a fork server, a folder per life.

`OwnedEngine` takes one life at a time out of it. The base folder has the same path for all of them; in a sandbox each
sees its own folders there (`isolation/view.py`), else they use it in turn.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

import structlog

from runflow.worker.engine.base import EngineStartFailed, SandboxFacts
from runflow.worker.engine.boot import SECRET_VARIABLE, OwnedSettings, find_python, plugin_folder
from runflow.worker.engine.boundary import Budget, BudgetSpent, Folder
from runflow.worker.engine.flags import engine_arguments, needs_cpu
from runflow.worker.engine.folders import LIVES, clear_placed, prepare_base
from runflow.worker.engine.forks.imported import ImportRecord
from runflow.worker.engine.forks.supervisor import ForkSupervisor
from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.remembered import is_lower_than_before
from runflow.worker.engine.isolation.rules import RulesLeadHome
from runflow.worker.engine.isolation.rungs import Rung, Sandbox, let_reach, make_life, plan, seen
from runflow.worker.engine.isolation.view import SCRIPTS, Runtime
from runflow.worker.engine.process import EngineProcess, end_leftover
from runflow.worker.engine.run_files import Life, RunFiles
from runflow.worker.engine.scrub import scrubbed_environment
from runflow.worker.runtime.record import write_atomically

log = structlog.get_logger(__name__)

_TOLD_SECONDS = 10.0
"""How long the first engine waits to hear whether it may have a network; without an answer it has none."""


class EngineHome:
    """The base folder of a worker's engines. `open` it before the first life, `close` it after the last."""

    def __init__(self, settings: OwnedSettings) -> None:
        self.settings = settings
        self.base_dir = settings.base_dir.absolute()
        self.sandbox = Sandbox(Rung.NONE)
        self.uid = settings.uid
        """The user id of an engine that has no sandbox with one of its own."""
        self.arguments: list[str] = []
        self.forks = ForkSupervisor(self, settings.fork_levels)
        self.disk_limit = settings.disk_limit_bytes or 0
        """How many bytes one engine may write."""
        self._network = settings.network
        self._network_told = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_found = False
        """Whether it is known what holds an engine here: without that none is started."""
        self._lock: IO[bytes] | None = None
        self._numbers = 0
        self._more_folders: tuple[Path, ...] = ()
        self._making = threading.Lock()
        self._opening = asyncio.Lock()

    @property
    def lives(self) -> Path:
        """Where each engine has its folder."""
        return self.base_dir / LIVES

    @property
    def runtime(self) -> Runtime:
        """What its engines are made of."""
        settings = self.settings
        plugin = plugin_folder(settings)
        more = tuple(folder for folder in (plugin, *self._more_folders) if folder is not None)
        python = find_python(settings)
        return Runtime(settings.comfy_dir.absolute(), python, self.base_dir, more, settings.is_strangers)

    @property
    def facts(self) -> SandboxFacts:
        """What a registration says of it."""
        reasons = [reason for reason in (self.sandbox.why_not_better, self.forks.why_not_better) if reason]
        return SandboxFacts(
            rung=self.sandbox.rung.value,
            separates_files=self.sandbox.separates_files,
            fork_level=self.forks.level,
            why_not_better=" ".join(reasons) or None,
        )

    @property
    def can_fork(self) -> bool:
        """Whether the next engine starts in a fraction of a second, or of a boot."""
        return self.forks.is_ready

    async def settled(self) -> None:
        """Wait until it is known how further engines start."""
        await self.forks.settled()

    async def warm(self, node_types: frozenset[str]) -> None:
        """Start the fork server before the first engine is wanted, for a ComfyUI that was seen to have these classes.

        Raises EngineStartFailed.
        """
        self.forks.expect(node_types)
        await self.open()
        await self.forks.wait_until_ready()

    def use_network(self, network: bool) -> None:
        """Say whether engines are to have the machine's network, where that was left open; the next ones obey."""
        if self.settings.network is not None or network == self._network:
            return
        self._network = network
        self._network_told.set()
        if self.sandbox.has_lives and self.sandbox.network != network:
            log.info("Engines have a network from now on." if network else "Engines have no network from now on.")
            self.sandbox = replace(self.sandbox, network=network)
            self._replace_all()

    async def look_for_folders(self) -> tuple[Path, ...]:
        """Return what engines in a sandbox may read beside their own folders; those that may not yet are replaced."""
        found = await asyncio.to_thread(self.settings.more_folders)
        if found != self._more_folders:
            self._more_folders = found
            if self._is_found and self.sandbox.has_lives:
                log.info("Engines see other folders of models from now on.")
                self._replace_all()
        return found

    def _replace_all(self) -> None:
        self.forks.replace_soon()
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Set once engines that are started from then on are held otherwise than those that live."""
        return self._changed

    async def open(self) -> None:
        """Take the base folder, and find out what holds an engine here. Raises EngineStartFailed."""
        async with self._opening:
            find_python(self.settings)
            if self._lock is None:
                await asyncio.to_thread(self._take_base)
            await self.look_for_folders()
            if not self._is_found:
                if self.settings.disk_limit_bytes is None:
                    self.disk_limit = shutil.disk_usage(self.base_dir).free // 2
                if self.settings.enclosed:
                    await self._find_sandbox()
                    log.info("engines are held by", rung=self.sandbox.rung.value, why=self.sandbox.why_not_better)
                self._is_found = True
            self.arguments = await asyncio.to_thread(self._prepare)

    async def _find_sandbox(self) -> None:
        settings = self.settings
        if self._network is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TOLD_SECONDS):
                    await self._network_told.wait()
        found = await probe(self.runtime, network=bool(self._network), user=settings.sandbox_user)
        # It may have been told otherwise meanwhile.
        self.sandbox = replace(found, network=found.network if found.rung is Rung.NONE else bool(self._network))
        if self.sandbox.rung is Rung.NONE:
            self.uid = await asyncio.to_thread(settings.uid_without)
            if self.uid is not None:
                self.sandbox = replace(self.sandbox, rung=Rung.USER)
        await asyncio.to_thread(is_lower_than_before, self.base_dir, self.sandbox)

    async def close(self) -> None:
        """End the fork server with all that came from it, and let go of the folder."""
        await self.forks.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def new_life(self) -> Life:
        """Make the folders of one more engine. Raises OSError."""
        with self._making:  # two engines that start at once must not get one user
            number = self.sandbox.next_number(self._numbers)
            if number is None:
                raise EngineStartFailed(
                    f"Each user id that engines have here, {self.sandbox.users} and on, has processes. End those first."
                )
            self._numbers = number
        if not self.sandbox.has_lives:
            files = RunFiles(self.base_dir, uid=self.uid)
            if not files.clean_all():
                raise EngineStartFailed(
                    f"What an earlier engine left in {self.base_dir} cannot be removed in time. Remove it by hand."
                )
            clear_placed(self.base_dir)
            files.make()
            return Life("base", number, self.base_dir, self.uid, files)
        name = secrets.token_hex(8)
        uid = self.sandbox.uid(number)
        files = make_life(self.lives / name, uid)
        if not self.sandbox.has_view:
            let_reach(self.base_dir, self.lives / name, uid)
        return Life(name, number, self.lives / name, uid, files, ImportRecord())

    def end_life(self, life: Life) -> None:
        """Remove what an engine left."""
        if life.imports is not None:
            life.imports.close()
        if life.root != self.base_dir:
            self._remove(life.name)
            self.pid_path(life).unlink(missing_ok=True)

    def environment(self, base: Path | None = None) -> dict[str, str]:
        """Return what an engine gets to see; its home is always below the base folder, whatever is there."""
        extra = self.settings.extra_environment
        return scrubbed_environment(os.environ, base or self.base_dir, extra, self.sandbox.network)

    def main_arguments(self, port: int, base: Path | None = None) -> list[str]:
        """Return the arguments of main.py, for an engine with this base folder."""
        settings = self.settings
        options = engine_arguments(
            settings.comfy_dir,
            base or self.base_dir,
            port,
            cpu=needs_cpu(settings.comfy_dir) if settings.cpu is None else settings.cpu,
            cache=settings.cache,
            metadata=settings.metadata,
            api_nodes=settings.api_nodes,
        )
        return [*options, *self.arguments, *settings.extra_arguments]

    async def booted(
        self, life: Life, secret: str, listening: int | None, log_path: Path, *, port: int = 8188
    ) -> EngineProcess:
        """Start a ComfyUI in this life, on a socket that it is handed, or on a port of the loopback address."""
        settings = self.settings
        base = life.root if self.sandbox.has_lives and not self.sandbox.has_view else self.base_dir
        environment = {**self.environment(base), SECRET_VARIABLE: secret}
        python = find_python(settings)
        keep = [] if listening is None else [listening]
        record = "-"
        if listening is not None and life.imports is not None:
            keep.append(life.imports.descriptor)
            record = str(life.imports.descriptor)
        head = [str(python)]
        if listening is not None:
            script = (
                f"{SCRIPTS}/forks/serving.py" if self.sandbox.has_view else await asyncio.to_thread(self._place_script)
            )
            head += [script, str(listening), record]
        command = [*head, "main.py", *self.main_arguments(port, base)]
        process = EngineProcess(
            command, cwd=settings.comfy_dir, env=environment, log_path=log_path, pid_path=self.pid_path(life)
        )
        if not self.sandbox.has_lives:
            await process.start(uid=self.uid, keep=keep)
            return process
        try:
            found = await asyncio.to_thread(seen, self.sandbox, self.runtime, life.root, life.number)
        except RulesLeadHome as error:
            raise EngineStartFailed(f"{error}. Move one of them.") from error
        given = plan(
            self.sandbox,
            found,
            command,
            folder=settings.comfy_dir,
            environment=environment,
            number=life.number,
            file_bytes=self.disk_limit,
        )
        await process.start_within(given, keep)
        return process

    def _place_script(self) -> str:
        """Put the script by which an engine serves on a socket where its user can read it, and return its path.

        Another engine may be reading it: what is there already stays, and a new one takes its place at once.
        """
        place = self.base_dir / "serving.py"
        content = (Path(__file__).parent / "forks" / "serving.py").read_bytes()
        with self._making:
            if not _is_placed(place, content):
                write_atomically(place, content)
                place.chmod(0o644)
        return str(place)

    def pid_path(self, life: Life) -> Path:
        """Return where a life's process is remembered."""
        return self.base_dir / "engine.pid" if life.root == self.base_dir else life.root.with_suffix(".pid")

    def _take_base(self) -> None:
        """Lock the base folder, and end what an earlier worker left in it."""
        self.base_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.base_dir / "engine.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EngineStartFailed(
                f"Another worker's engine uses {self.base_dir}. Stop that worker, or give this one another folder."
            ) from None
        self._lock = lock
        self.lives.mkdir(mode=0o700, exist_ok=True)
        for pid_path in (self.base_dir / "engine.pid", self.base_dir / "forks.pid", *self.lives.glob("*.pid")):
            if (pid := end_leftover(pid_path)) is not None:
                log.warning("ended an engine that an earlier worker left behind", pid=pid)
        for left in self.lives.iterdir():
            self._remove(left.name)

    def _remove(self, name: str) -> None:
        """Remove what an ended engine left in `lives`."""
        try:
            with Folder.at(self.lives) as lives:
                lives.remove(name, Budget(entries=20_000_000, seconds=600.0))
        except (OSError, BudgetSpent) as error:
            log.warning("What an engine left is not all gone.", folder=str(self.lives / name), why=repr(error))

    def _prepare(self) -> list[str]:
        try:
            settings = self.settings
            return prepare_base(self.base_dir, settings.comfy_dir, plugin_folder(settings), settings.more_models())
        except OSError as error:
            raise EngineStartFailed(
                f"{error.filename or self.base_dir} cannot be written: {error.strerror}."
            ) from error


def _is_placed(place: Path, content: bytes) -> bool:
    try:
        return place.read_bytes() == content and not place.is_symlink() and place.stat().st_mode & 0o777 == 0o644
    except OSError:
        return False
