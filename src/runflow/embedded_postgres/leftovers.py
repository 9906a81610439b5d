"""PostgreSQL processes on our data folder that nobody of us runs any more: found by what they are, then stopped."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from runflow.embedded_postgres.errors import StopFailed
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.user import DatabaseUser

# A fast shutdown writes a checkpoint, which takes as long as the disk needs; the others do not wait for anything.
_STEPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


def find(location: Location, user: DatabaseUser) -> list[psutil.Process]:
    """Return the live processes on the data folder: a postmaster, or what a killed one left behind.

    A process id from a file proves nothing, so the process table is asked: the program must be `postgres`, run as the
    database user, and name our data folder (postmaster) or our cluster (its children) in its command line.
    """
    return [process for process in psutil.process_iter() if _is_ours(process, location, user)]


def stop(location: Location, user: DatabaseUser, report: Callable[[str], None]) -> None:
    """Stop them, politely first; then remove a stale postmaster.pid. Raises StopFailed, OSError."""
    left = find(location, user)
    if left:
        report(f"Stopping a PostgreSQL that an earlier Runflow left running on {location.data}")
    for step, seconds in _STEPS:
        if not left:
            break
        for process in _first(left, location.data):
            _send(process, step)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [process for process in left if _lives(process)] or find(location, user)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise StopFailed(
            f"PostgreSQL processes on {location.data} do not end ({pids}), although they were killed; the disk may "
            "hang. Look at the system's log (dmesg), then start again."
        )
    # With its number reused by another process, this file would keep PostgreSQL from starting.
    (location.data / "postmaster.pid").unlink(missing_ok=True)


def _is_ours(process: psutil.Process, location: Location, user: DatabaseUser) -> bool:
    try:
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = process.cmdline()
        if process.uids().real != user.uid or not command:
            return False
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return _names_data(command, location.data) or command[0].startswith(f"postgres: {location.cluster_name}: ")


def _names_data(command: list[str], data: Path) -> bool:
    """Say whether this is the command line of a server (postmaster, single-user) on the folder, whoever wrote it."""
    pairs = itertools.pairwise(command)
    return Path(command[0]).name == "postgres" and (
        any(flag == "-D" and value == str(data) for flag, value in pairs) or f"-D{data}" in command
    )


def _first(processes: list[psutil.Process], data: Path) -> Iterator[psutil.Process]:
    """Yield the postmaster if there is one, because it ends its children in order; else every process."""
    postmasters = []
    for process in processes:
        try:
            if _names_data(process.cmdline(), data):
                postmasters.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    yield from postmasters or processes


def _send(process: psutil.Process, step: signal.Signals) -> None:
    # psutil compares the start time first, so a reused process id is never hit.
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(step)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
