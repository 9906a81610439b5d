"""The worker's side of a fork server: starts it, asks it for engines, and hears of their ends."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil
import structlog

from runflow.worker.engine.base import EngineStartFailed
from runflow.worker.engine.forks.inspection import NOT_FOUND, SERVED_BY_OTHERS, Inspection, all_below, processes_of
from runflow.worker.engine.isolation.rungs import PROCESSES_AT_MOST, Sandbox, hand_over, plan
from runflow.worker.engine.isolation.view import SCRIPTS, Runtime, mounts, mounts_of_fork
from runflow.worker.engine.log import EngineLog
from runflow.worker.engine.process import EngineProcess, descendants

_T = TypeVar("_T")

log = structlog.get_logger(__name__)

_LOAD_SECONDS = 300.0
_ANSWER_SECONDS = 30.0
_END_SECONDS = 10.0
_LOOKS, _LOOK_SECONDS = 100, 0.05
"""A child that only waits for its engine closes what it was forked with, at its own time."""
_PARENT_FILE_BYTES = 1 << 30
_MESSAGE_BYTES = 1024 * 1024


class ForkRefused(Exception):
    """This ComfyUI cannot be forked here; the message says why, for the log and the registration."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a fork server is to import (`forks/imports.py`): `arguments` of main.py; packs by name.

    `modules`, `settings`: of level 0 (`forks/imported.py`).
    """

    level: int
    arguments: tuple[str, ...]
    load_in_child: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


class ForkServer:
    """One pre-imported ComfyUI. `start` it once; every `fork` is an engine of its own."""

    def __init__(
        self, runtime: Runtime, sandbox: Sandbox, lives: Path, environment: Mapping[str, str], log_path: Path
    ) -> None:
        self.runtime = runtime
        self.sandbox = sandbox
        self._lives = lives
        self._environment = dict(environment)
        self._log_path = log_path
        self._process: EngineProcess | None = None
        self._control: socket.socket | None = None
        self._asked: dict[tuple[str, str | None], asyncio.Future[dict[str, Any]]] = {}
        self._engines: dict[str, ForkedEngine] = {}
        self._watch: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self.has_cuda = False
        """Whether importing it gave it a CUDA context, which no fork survives."""

    @property
    def running(self) -> bool:
        """Whether it can be asked for engines."""
        return self._process is not None and self._process.running and self._control is not None

    @property
    def is_idle(self) -> bool:
        """Whether no engine of it lives."""
        return not self._engines

    async def start(self, wish: Wish) -> Mapping[str, Sequence[str]]:
        """Import the ComfyUI. Returns what packs left behind that no fork survives, by pack.

        Raises `ForkRefused`, `EngineStartFailed`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        os.set_inheritable(theirs.fileno(), True)
        script = f"{SCRIPTS}/forks/server.py"
        command = [str(self.runtime.python), script, str(theirs.fileno())]
        found = await asyncio.to_thread(
            mounts,
            self.runtime,
            lives=self._lives,
            life=None,
            network=self.sandbox.network,
            gpu=self.sandbox.gpu,
            layered=self.sandbox.layered,
            owner=self.sandbox.users if self.sandbox.in_users else None,
        )
        given = plan(
            self.sandbox,
            found,
            command,
            folder=self.runtime.comfy_dir,
            environment=self._environment,
            number=0,
            forks=True,
            file_bytes=_PARENT_FILE_BYTES,
        )
        self._process = EngineProcess(
            command,
            cwd=self.runtime.comfy_dir,
            env=self._environment,
            log_path=self._log_path,
            pid_path=self._log_path.with_suffix(".pid"),
        )
        try:
            await self._process.start_within(given, [theirs.fileno()])
        finally:
            theirs.close()
        self._control = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)
        self._watch = asyncio.create_task(self._watch_end(self._process), name="fork-server-end")
        modules = hand_over(list(wish.modules))  # more names than a message holds
        try:
            told = await self._ask(
                {
                    "kind": "load",
                    "level": wish.level,
                    "arguments": list(wish.arguments),
                    "load_in_child": list(wish.load_in_child),
                    "settings": dict(wish.settings),
                    "base": str(self.runtime.base_dir),
                },
                descriptors=[modules],
                seconds=_LOAD_SECONDS,
            )
        finally:
            os.close(modules)
        self.has_cuda = _given(told, "cuda", bool)
        complaints = _given(told, "complaints", dict)
        return {name: [str(words) for words in _given(complaints, name, list)] for name in complaints}

    async def computes(self, *, cuda: bool = False) -> bool:
        """Tell whether a child of it can compute: it hangs there if somebody computed before the fork.

        `cuda`: also on the graphics card, if its torch is made for one.
        """
        return _given(await self._ask({"kind": "canary", "cuda": cuda}, seconds=90.0), "ok", bool)

    async def fork(
        self,
        name: str,
        number: int,
        listening: int,
        environment: Mapping[str, str],
        log_path: Path,
        *,
        file_bytes: int,
        packs: Sequence[str] = (),
    ) -> "ForkedEngine":
        """Fork an engine whose folders are `lives`/`name`, serving on this socket.

        `packs`: node packs that it alone has, in `view.OWN_PACKS` of its folders, and imports itself. Raises
        `EngineStartFailed`.
        """
        view = self._view(name, number, file_bytes=file_bytes, has_packs=bool(packs))
        engine = ForkedEngine(self, name, EngineLog(log_path), os.fstat(listening).st_ino)
        self._engines[name] = engine
        try:
            said = engine.log.open()
        except OSError:
            self._engines.pop(name, None)
            raise
        try:
            told = await self._ask(
                {"kind": "fork", "name": name, "view": view, "environment": dict(environment), "packs": list(packs)},
                descriptors=[listening, said],
                seconds=_ANSWER_SECONDS,
            )
            engine.process = _given(told, "process", int)
        except BaseException as refused:
            # It may be forked a moment later: whoever asks for its end now is heard after that.
            self.end(name)
            self._engines.pop(name, None)
            engine.log.close()
            if not isinstance(refused, ForkRefused):
                raise
            raise EngineStartFailed(f"The fork server made no engine: {refused}") from refused
        finally:
            os.close(said)
        return engine

    async def settle_only(self, name: str, number: int, *, held: bool) -> int:
        """Fork a child that ends once it is shut in (without `held`: at once); return its exit status. To measure."""
        view = self._view(name, number, file_bytes=_PARENT_FILE_BYTES) if held else None
        told = await self._ask({"kind": "settle", "name": name, "view": view}, seconds=_ANSWER_SECONDS)
        return _given(told, "status", int)

    def processes(self) -> list[psutil.Process]:
        """Return its own processes and those of all its engines."""
        if self._process is None or self._process.pid is None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    async def held(self, engine: "ForkedEngine") -> str | None:
        """Look at an engine from outside (`inspection.py`): return what is wrong with it, None if nothing is."""
        if self._process is None or self._process.pid is None:
            return NOT_FOUND
        inspection = Inspection(self.sandbox, self._process.pid, engine.process, engine.socket)
        for _ in range(_LOOKS):
            fault = await asyncio.to_thread(inspection.fault)
            if fault not in (SERVED_BY_OTHERS, NOT_FOUND) or not engine.running:
                return fault
            await asyncio.sleep(_LOOK_SECONDS)
        return fault

    def _view(self, name: str, number: int, *, file_bytes: int, has_packs: bool = False) -> dict[str, Any]:
        owner = self.sandbox.uid_inside(number)
        layered = self.sandbox.layered
        return {
            "mounts": mounts_of_fork(self.runtime, name, layered=layered, owner=owner, has_packs=has_packs),
            "network": self.sandbox.network,
            "owner": owner,
            "folder": str(self.runtime.comfy_dir),
            "limits": {"processes_at_most": PROCESSES_AT_MOST, "file_bytes": file_bytes},
        }

    async def stop(self) -> None:
        """End it and every engine that came from it."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._ending is not None:
            await self._ending
        if self._process is not None:
            await self._process.kill()
        self._hang_up("The fork server was stopped.")

    def tail(self) -> str:
        """Return the end of what it printed, for the operator."""
        return self._process.log_tail() if self._process is not None else ""

    def end(self, name: str) -> None:
        """Have an engine killed; its end is heard of as any other's."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(orjson.dumps({"kind": "kill", "name": name}))

    def processes_of(
        self, process: int, below: Callable[[int], list[psutil.Process]] = all_below
    ) -> list[psutil.Process]:
        """Return an engine's processes, by the number that the fork server knows it by."""
        if self._process is None or self._process.pid is None:
            return []
        with contextlib.suppress(psutil.Error):
            return processes_of(self._process.pid, process, below)
        return []

    async def _ask(self, message: dict[str, Any], *, descriptors: Sequence[int] = (), seconds: float) -> dict[str, Any]:
        if self._control is None:
            raise ForkRefused("It does not run.")
        key = (message["kind"], message.get("name"))
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[key] = future
        try:
            socket.send_fds(self._control, [orjson.dumps(message)], list(descriptors))
            async with asyncio.timeout(seconds):
                told = await future
        except TimeoutError:
            raise ForkRefused(f"It did not answer {message['kind']!r} within {seconds:.0f} seconds.") from None
        except OSError as error:
            raise ForkRefused(f"It cannot be reached: {error.strerror or error}.") from error
        finally:
            self._asked.pop(key, None)
        if told.get("error"):
            raise ForkRefused(str(told["error"]))
        return told

    def _hear(self) -> None:
        assert self._control is not None
        try:
            content = self._control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._hang_up("The fork server ended.")
            return
        told = _message(content)
        if told is None:
            # Packs run in that process: what it says now is not to be believed either.
            self._hang_up("The fork server said what is no answer.")
            if self._process is not None:
                self._ending = asyncio.create_task(self._process.kill(), name="fork-server-kill")
            return
        if told["kind"] == "ended":
            engine = self._engines.pop(told["name"], None)
            if engine is not None:
                engine.ended(told["status"])
            return
        waiting = self._asked.get((told["kind"], told.get("name")))
        if waiting is not None and not waiting.done():
            waiting.set_result(told)

    async def _watch_end(self, process: EngineProcess) -> None:
        await process.wait()
        log.warning("The fork server ended.", log_tail=process.log_tail()[-2000:])
        self._hang_up("The fork server ended.")

    def _hang_up(self, reason: str) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(ForkRefused(reason))
        for engine in list(self._engines.values()):
            engine.ended(-9)
        self._engines.clear()


@dataclass
class ForkedEngine:
    """One engine out of a fork server, with what an `EngineProcess` offers."""

    server: ForkServer
    name: str
    log: EngineLog
    socket: int
    """The inode of what it serves on."""
    process: int = 0
    returncode: int | None = None
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """The machine's number of its first process."""
        found = self.server.processes_of(self.process) if self.running else []
        return found[0].pid if found else None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.returncode is None

    def ended(self, status: int) -> None:
        """Note its end; called by the fork server."""
        self.returncode = status
        self._gone.set()

    async def wait(self) -> int:
        """Wait for its end; return the exit status."""
        await self._gone.wait()
        assert self.returncode is not None
        return self.returncode

    async def stop(self, *, patience: float) -> None:
        """End it and everything that it started."""
        await self.kill()

    async def kill(self) -> None:
        """End it and everything that it started, at once; a fork server that does not do it ends with it."""
        if self.running:
            self.server.end(self.name)
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                log.warning("The fork server does not end an engine, so it is ended with it.")
                await self.server.stop()
        self.log.close()

    def memory_bytes(self, *, children: bool) -> int:
        """Return its resident memory with that of what it started."""
        total = 0
        for process in self.server.processes_of(self.process, descendants):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def log_tail(self) -> str:
        """Return the end of its log as it said it, for the operator."""
        return self.log.tail()


def _message(content: bytes) -> dict[str, Any] | None:
    """Return what the fork server said, None where it is none of its messages."""
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    is_one = isinstance(told, dict) and isinstance(told.get("kind"), str) and isinstance(told.get("name"), str | None)
    if not is_one or (told["kind"] == "ended" and type(told.get("status")) is not int):
        return None
    return dict(told)


def _given(told: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """Return a part of an answer. Raises `ForkRefused` where it is not of this kind."""
    value = told.get(name)
    if type(value) is not kind:
        raise ForkRefused(f"It answered with no {name}.")
    return value
