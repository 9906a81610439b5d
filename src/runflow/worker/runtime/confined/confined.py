"""Run one build command of strangers where it can do no harm: `setup.py`, a build backend, the import of a pack.

It sees the system's programs, folders that it is given to read and one to write, nothing else; it has no network, no
environment but what it is told, and as root a user id of its own. What it starts ends with it, and all of it with us.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from runflow.worker.engine.boundary import Budget, BudgetSpent, Folder
from runflow.worker.engine.isolation.rungs import Sandbox, plan
from runflow.worker.engine.isolation.started import Started, start
from runflow.worker.engine.process import descendants
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.confined.confinement import PYTHON, confinement, own_user, seen_by_build
from runflow.worker.runtime.confined.said import Said

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.25
_SHARE_OF_LOOKING = 4
"""How many times as long as a look takes the pause after it is at least."""
_LAST_WORDS_SECONDS = 10.0
_KEPT_FREE_BYTES = 1 << 30
"""What a build leaves of the disk: files that it has removed and still holds open are in no folder to be counted."""
_MOST_ENTRIES = 2_000_000
_READ_BYTES = 1 << 16
_OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
HOME, TEMPORARY = "home", "tmp"
"""The folders that every command finds in the one that it may write to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one build command may use; of memory each of its processes, and all of them together."""

    seconds: float = 3600.0
    memory_bytes: int = 8 << 30
    disk_bytes: int = 16 << 30
    most_processes: int = 512


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended. `why`: the limit that ended it, a sentence; `tail`: the end of what it printed."""

    returncode: int
    timed_out: bool
    tail: str
    why: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether it ended by itself, without an error."""
        return self.returncode == 0 and self.why is None


async def run_confined(
    command: Sequence[str | Path],
    *,
    writable: Path,
    readable: Sequence[Path],
    environment: Mapping[str, str],
    seconds: float,
    memory_bytes: int,
    disk_bytes: int,
    most_processes: int,
    log: Path | IO[bytes],
    sandbox: Sandbox | None = None,
) -> Result:
    """Run a command in the folder `writable`, which belongs to it from then on, and to no other at the same time.

    `environment` is all that it gets beside a path, a home and a temporary folder in `writable`. `log` gets the head
    and the tail of what it prints, 1 MiB at most. `sandbox`: what holds it, the best one of this machine by default.
    Raises `BuildsNotConfined` where nothing here keeps strangers' code to itself; InstallError where it cannot start.
    """
    _refuse_nested(readable, writable)
    sandbox = sandbox or await confinement(writable.parent)
    limits = Limits(seconds, memory_bytes, disk_bytes, most_processes)
    with contextlib.ExitStack() as held:
        number = held.enter_context(own_user(sandbox))
        uid = sandbox.uid(number)
        try:
            await asyncio.to_thread(_hand_over, writable, uid)
            said = held.enter_context(Said(log))
        except OSError as error:
            raise InstallError(
                f"A build in {writable} cannot start: {error.filename or log}: {error.strerror}. See that the disk has "
                "room and that the worker may write there."
            ) from error
        given = _planned(command, writable, readable, environment, limits, sandbox, number)
        try:
            started = await start(PYTHON, given)
        except OSError as error:
            raise InstallError(
                f"A build in {writable} cannot start: {error.strerror}. Free processes or memory."
            ) from error
        return await _followed(started, writable, limits, said)


def remove_folder(folder: Path) -> None:
    """Remove what a build has left, however deep that lies and whatever it has closed; tell the log of the rest."""
    try:
        with Folder.at(folder.parent) as above:
            above.remove(folder.name, Budget(entries=_MOST_ENTRIES * 2, seconds=600.0))
    except (OSError, BudgetSpent) as error:
        log.warning("What a build left is not all gone.", folder=str(folder), why=repr(error))


def _refuse_nested(readable: Sequence[Path], writable: Path) -> None:
    """What is read must not be written by the way, nor show what lies beside the folder of this build."""
    whole = writable.resolve()
    for folder in readable:
        place = folder.resolve()
        if place == whole or whole in place.parents or place in whole.parents:
            raise InstallError(
                f"A build may not read {folder}, for one of it and {writable}, where the build writes, holds the "
                "other. Move one of them."
            )


def _hand_over(writable: Path, uid: int | None) -> None:
    """Give the folder with all that is in it to the build's user; nothing of a build runs in it now."""
    with Folder.at(writable) as folder:
        for name in (HOME, TEMPORARY):
            folder.make(name, uid).__exit__()
        folder.hand_over(uid)
    if uid is None:
        return
    left = [str(writable)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                os.chown(entry.path, uid, uid, follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)


def _planned(
    command: Sequence[str | Path],
    writable: Path,
    readable: Sequence[Path],
    environment: Mapping[str, str],
    limits: Limits,
    sandbox: Sandbox,
    number: int,
) -> dict[str, Any]:
    return plan(
        sandbox,
        seen_by_build(sandbox, readable, writable),
        [str(part) for part in command],
        folder=writable,
        environment=_environment(writable, environment),
        number=number,
        file_bytes=limits.disk_bytes,
        processes_at_most=limits.most_processes,
        memory_bytes=limits.memory_bytes,
        python=PYTHON,
    )


def _environment(writable: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Made from nothing: of the worker's own there is none in it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "runflow-build",
        "LOGNAME": "runflow-build",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        **_OFFLINE,
        **more,
        "HOME": str(writable / HOME),
        "XDG_CACHE_HOME": str(writable / HOME / ".cache"),
        "TMPDIR": str(writable / TEMPORARY),
    }


async def _followed(started: Started, writable: Path, limits: Limits, said: Said) -> Result:
    """Follow the command to its end, or to the limit that it reaches first."""
    free = shutil.disk_usage(writable).free
    reader = asyncio.create_task(_read(started, said))
    ended = asyncio.create_task(started.process.wait())
    over = asyncio.create_task(_over(started.process.pid, writable, limits, min(_KEPT_FREE_BYTES, free // 2)))
    why = None
    try:
        done, _ = await asyncio.wait({ended, over}, timeout=limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            why = f"It took longer than {limits.seconds:g} seconds."
        elif ended not in done:
            why = over.result()
    finally:
        over.cancel()
        returncode = await started.end()
        # All who had its output are gone. Should one not be, the worker does not wait for it.
        await asyncio.wait({reader, ended}, timeout=_LAST_WORDS_SECONDS)
        reader.cancel()
    return Result(returncode, timed_out=not done, tail=said.tail(), why=why)


async def _read(started: Started, said: Said) -> None:
    assert started.process.stdout is not None
    while content := await started.process.stdout.read(_READ_BYTES):
        said.take(content)


async def _over(pid: int, writable: Path, limits: Limits, kept_free: int) -> str:
    """Return, once the command uses more than it may, what that is."""
    pause = _LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        if (why := await asyncio.to_thread(_used_too_much, pid, writable, limits, kept_free)) is not None:
            return why
        pause = max(_LOOK_SECONDS, _SHARE_OF_LOOKING * (time.monotonic() - began))


def _used_too_much(pid: int, writable: Path, limits: Limits, kept_free: int) -> str | None:
    processes = descendants(pid)
    # What forked processes share each has as its own in the first sum; the second one takes long.
    if _memory(processes, exact=False) > limits.memory_bytes and _memory(processes, exact=True) > limits.memory_bytes:
        return f"It used more than {limits.memory_bytes} bytes of memory."
    if shutil.disk_usage(writable).free < kept_free:
        return f"It left less than {kept_free} bytes of the disk of {writable.parent} free."
    try:
        used = _disk_bytes(writable, limits.disk_bytes)
    except BudgetSpent:
        return f"It made more than {_MOST_ENTRIES} files and folders, or it takes too long to count them."
    except OSError as error:
        return f"What it wrote cannot be counted: {error.strerror}."
    return f"It wrote more than {limits.disk_bytes} bytes." if used > limits.disk_bytes else None


def _memory(processes: list[psutil.Process], *, exact: bool) -> int:
    used = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            used += int(process.memory_full_info().pss if exact else process.memory_info().rss)
    return used


def _disk_bytes(writable: Path, enough: int) -> int:
    """Return how much of the disk a folder takes, or as soon as it is more than enough.

    It changes meanwhile, so what moves may be missed. What is hidden from the count, too deep or closed to us, raises
    OSError.
    """
    budget = Budget(_MOST_ENTRIES, seconds=60.0)
    used = 0
    left = ["."]
    with Folder.at(writable) as whole:
        while left and used <= enough:
            place = left.pop()
            try:
                folder = whole.folder(place)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                    raise
                continue
            with folder:
                for entry in folder.entries(budget):
                    with contextlib.suppress(FileNotFoundError):
                        used += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            left.append(f"{place}/{entry.name}")
    return used
