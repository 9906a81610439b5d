"""The process of an owned engine: started in a session of its own, watched, and ended with everything it started."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import psutil

from runflow.worker.engine.base import EngineStartFailed
from runflow.worker.engine.isolation.rungs import KEEPER, enter_command, hand_over
from runflow.worker.engine.log import EngineLog
from runflow.worker.runtime.record import write_atomically

_GONE_SECONDS = 5.0
_KEEPER_SECONDS = 15.0
"""How long the process that ends all that an engine has started may take for it."""


def free_port() -> int:
    """Return a TCP port of the loopback address that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EngineProcess:
    """One start of a command. `pid_path` remembers it, so that a later start finds what is left over."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log_path: Path, pid_path: Path
    ) -> None:
        self._command = list(command)
        self._cwd = cwd
        self._env = dict(env)
        self.log = EngineLog(log_path)
        self._pid_path = pid_path
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: int | None = None
        self._is_enclosed = False
        self._has_keeper = False

    async def start(self, *, uid: int | None = None, keep: Sequence[int] = ()) -> None:
        """Start it, as a user of its own where one is given, with the descriptors `keep` beside its own three.

        Must be called from a thread that lives as long as the engine shall (see launcher).
        """
        launcher = str(files("runflow.worker.engine").joinpath("launcher.py"))
        kept = ",".join(map(str, keep)) or "-"

        def guarded(guard: int) -> list[str]:
            head = [
                self._command[0],
                "-I",
                "-S",
                launcher,
                str(os.getpid()),
                str(guard),
                str(uid) if uid else "-",
                kept,
            ]
            return [*head, *self._command]

        await self._start(guarded, keep)

    async def start_within(self, given: dict[str, Any], keep: Sequence[int] = ()) -> None:
        """Start it as a plan of the sandbox says (`isolation.rungs.plan`); the command is in there, too."""
        handed: list[int] = []

        def enclosed(guard: int) -> list[str]:
            plan = {**given, "keep": list(keep), "worker": os.getpid(), "guard": guard}
            handed.append(hand_over(plan))
            return enter_command(Path(self._command[0]), given["script"], handed[0])

        try:
            await self._start(enclosed, keep, handed)
        finally:
            for descriptor in handed:
                os.close(descriptor)
        self._is_enclosed = True
        self._has_keeper = given["script"] == KEEPER

    async def _start(
        self, command: Callable[[int], list[str]], keep: Sequence[int], handed: Sequence[int] = ()
    ) -> None:
        read_end, write_end = os.pipe()
        os.set_inheritable(read_end, True)
        try:
            said = self.log.open()
        except OSError as error:
            os.close(read_end)
            os.close(write_end)
            raise EngineStartFailed(
                f"The engine's log {self.log.path} cannot be written: {error.strerror or error}. See that the disk has "
                "room and that the worker may write there."
            ) from error
        try:
            words = command(read_end)
            self._process = await asyncio.create_subprocess_exec(
                *words,
                cwd=self._cwd,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                pass_fds=(read_end, *keep, *handed),
            )
        except OSError as error:
            os.close(write_end)
            self.log.close()
            raise EngineStartFailed(
                f"{self._command[0]} cannot be started: {error.strerror or error}. {_next_step(error)}"
            ) from error
        finally:
            os.close(said)
            os.close(read_end)
        self._pipe = write_end
        _remember(self._pid_path, self._process.pid)

    @property
    def pid(self) -> int | None:
        """The process id, which is also that of its group; None before the start."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end; return the exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, *, patience: float) -> None:
        """End it: SIGINT, then SIGTERM, `patience` seconds each, then SIGKILL; the whole group is gone afterwards."""
        if self._process is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            if not self.running or patience <= 0:
                break
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it and everything that it started at once: its group, or what its sandbox keeps."""
        if self._process is None:
            return
        if self._has_keeper and self._pipe is not None:
            # What it started may be in any group, and is gone when the process that we started has ended by itself.
            os.close(self._pipe)
            self._pipe = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KEEPER_SECONDS):
                    await self._process.wait()
        _kill_group(self._process.pid)
        await self._process.wait()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        await _group_gone(self._process.pid)
        self.log.close()
        self._pid_path.unlink(missing_ok=True)

    def memory_bytes(self, *, children: bool) -> int:
        """Return the resident memory of the engine, with `children` also of what it started; 0 when it is gone."""
        if self._process is None:
            return 0
        # Of an enclosed one the process that we started only waits outside.
        children = children or self._is_enclosed
        try:
            leader = psutil.Process(self._process.pid)
            members = [leader, *(descendants(leader.pid) if children else [])]
        except psutil.Error:
            return 0
        total = 0
        for member in members:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
        return total

    def log_tail(self) -> str:
        """Return the end of its log as it said it, for the operator."""
        return self.log.tail()


def descendants(pid: int) -> list[psutil.Process]:
    """Return what a process has started, and what that has started, parents first; nothing where it is gone.

    Linux keeps the children of each thread in a file (since 3.5, where it was built so). Without it every process of
    the machine has to be read, which costs ten times as much. One may be missed while another one ends.
    """
    found: list[psutil.Process] = []
    pending = [pid]
    while pending:
        for child in _children(pending.pop(0)):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(child))
                pending.append(child)
    return found


def _children(pid: int) -> list[int]:
    numbers: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                numbers += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, PermissionError):
        with contextlib.suppress(psutil.Error):
            numbers = [child.pid for child in psutil.Process(pid).children()]
    return numbers


def end_leftover(pid_path: Path) -> int | None:
    """End the engine that an earlier worker left behind, if the remembered process is still that one; return its id."""
    try:
        remembered = orjson.loads(pid_path.read_bytes())
        pid, created = int(remembered["pid"]), float(remembered["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        # A process id is used again by others; together with the time of its start it is not.
        is_ours = abs(psutil.Process(pid).create_time() - created) < 1.0
    except psutil.Error:
        is_ours = False
    if is_ours:
        _kill_group(pid)
        deadline = time.monotonic() + _GONE_SECONDS
        while psutil.pid_exists(pid) and time.monotonic() < deadline and _state(pid) != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
    pid_path.unlink(missing_ok=True)
    return pid if is_ours else None


def _next_step(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP):
        return "Run `runflow comfyui install` again."
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return "The machine, or the worker's user, is at its limit of processes, memory or open files."
    return "See that the disk has room and that the worker may write to its folder."


def _remember(path: Path, pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        write_atomically(path, orjson.dumps({"pid": pid, "created": psutil.Process(pid).create_time()}))


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _group_gone(group: int) -> None:
    """Wait until nothing of the group runs. Zombies do not count: nobody may be there to reap those of custom nodes."""
    deadline = time.monotonic() + _GONE_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        if not any(_is_member(process, group) for process in psutil.process_iter()):
            return
        await asyncio.sleep(0.01)


def _is_member(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def _state(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return None


_SHARE = 0.9
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def default_limit_bytes() -> int:
    """Return nine tenths of the memory of this machine, or of the container that we are in."""
    sizes = [psutil.virtual_memory().total]
    for name in _CGROUP_LIMITS:
        try:
            sizes.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or the word `max`
            continue
    return int(min(sizes) * _SHARE)
