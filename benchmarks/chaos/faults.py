"""The faults: what strikes, for how long, and how it is taken back. Each takes one draw of the seed's numbers.

Left out: a step of the system's clock. It belongs to the whole machine (a time namespace moves only the clocks that
count from the boot), so it would strike everything else on it, and a library in between would make another program of
the one that people run. What a step does, a gap in the server's time, is what stopping everything does as well.
"""

import contextlib
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psutil
import psycopg

from benchmarks.chaos.machine import MAX_CONNECTIONS, Machine, Service
from benchmarks.chaos.proxy import Mood
from benchmarks.chaos.records import CONNECT_SECONDS

HOLD_SECONDS = (0.5, 7.0)
"""How long what lasts lasts: below and above the time of a lease (4 seconds)."""


class Missed(Exception):
    """There was nothing to strike: the process was not there in this moment."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which something fails. `strike` is entered when it begins and left when it ends."""

    name: str
    strike: Callable[[Machine, random.Random], AbstractContextManager[None]]
    lasts: bool


Finder = Callable[[Machine, random.Random], list[psutil.Process]]


def _of(one: psutil.Process | None) -> list[psutil.Process]:
    return [] if one is None else [one]


def _side(machine: Machine, rng: random.Random) -> Service:
    return rng.choice((machine.server, machine.far))


TARGETS: dict[str, Finder] = {
    "worker": lambda machine, rng: _of(machine.worker(_side(machine, rng))),
    "engine": lambda machine, rng: _of(machine.engine(_side(machine, rng))),
    "fork server": lambda machine, rng: _of(machine.fork_server(_side(machine, rng))),
    "sandbox": lambda machine, rng: _of(machine.sandbox(_side(machine, rng))),
    "watchdog": lambda machine, rng: _of(machine.watchdog(_side(machine, rng))),
    "server": lambda machine, rng: [machine.server.root()],
    "postmaster": lambda machine, rng: _of(machine.postmaster()),
    "backend": lambda machine, rng: _of(machine.backend(rng)),
    "everything": lambda machine, rng: machine.processes(),
}


def _found(find: Finder, machine: Machine, rng: random.Random) -> list[psutil.Process]:
    try:
        found = find(machine, rng)
    except psutil.Error:
        found = []
    if not found:
        raise Missed
    return found


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def kill(find: Finder) -> Callable[[Machine, random.Random], AbstractContextManager[None]]:
    """Return a strike that ends processes with SIGKILL."""

    @contextmanager
    def strike(machine: Machine, rng: random.Random) -> Iterator[None]:
        found = _found(find, machine, rng)
        for service in (machine.server, machine.far):
            service.struck.update(process.pid for process in found)
        _send(found, signal.SIGKILL)
        yield

    return strike


def stop(find: Finder) -> Callable[[Machine, random.Random], AbstractContextManager[None]]:
    """Return a strike that stops processes with SIGSTOP, and lets them go on."""

    @contextmanager
    def strike(machine: Machine, rng: random.Random) -> Iterator[None]:
        found = _found(find, machine, rng)
        _send(found, signal.SIGSTOP)
        try:
            yield
        finally:
            _send(found, signal.SIGCONT)

    return strike


def network(mood: Mood, *, callers: bool) -> Callable[[Machine, random.Random], AbstractContextManager[None]]:
    """Return a strike at the network between callers and server, or between server and second worker."""

    @contextmanager
    def strike(machine: Machine, _: random.Random) -> Iterator[None]:
        road = machine.callers if callers else machine.far_road
        road.set(mood)
        try:
            yield
        finally:
            road.set("passing")

    return strike


@contextmanager
def storage_full(machine: Machine, _: random.Random) -> Iterator[None]:
    """Fill the disk up to the reserve with a file that takes no writing."""
    reserve = int(machine.server.root().environ()["RUNFLOW_STORAGE_RESERVE_BYTES"])
    with machine.ballast.open("wb") as file:
        try:
            while True:
                found = os.fstatvfs(file.fileno())
                over = found.f_bavail * found.f_frsize - reserve
                if over < 0:
                    break
                at = os.fstat(file.fileno()).st_size
                os.posix_fallocate(file.fileno(), at, over + 64 * 1024 * 1024)
            yield
        finally:
            machine.ballast.unlink(missing_ok=True)


@contextmanager
def database_connections(machine: Machine, _: random.Random) -> Iterator[None]:
    """End the server's connections to the database and take every place that there is."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('runflow_api', 'runflow_system')"
    try:
        with contextlib.suppress(psycopg.OperationalError):
            taken.append(psycopg.connect(machine.database_url, autocommit=True, connect_timeout=CONNECT_SECONDS))
            taken[0].execute(end)
            while True:
                taken.append(psycopg.connect(machine.database_url, connect_timeout=CONNECT_SECONDS))
        if not taken:
            raise Missed
        yield
    finally:
        for connection in taken:
            connection.close()


@contextmanager
def http_connections(machine: Machine, _: random.Random) -> Iterator[None]:
    """Open many more connections than the server takes, and say nothing on any of them."""
    taken: list[socket.socket] = []
    try:
        for _number in range(3 * MAX_CONNECTIONS):
            with contextlib.suppress(OSError):
                taken.append(socket.create_connection(("127.0.0.1", machine.port), timeout=1))
        if not taken:
            raise Missed
        yield
    finally:
        for connection in taken:
            connection.close()


@contextmanager
def log_unwritable(machine: Machine, rng: random.Random) -> Iterator[None]:
    """Take away who reads the log of server or second worker; it is back when that is started the next time."""
    log = _side(machine, rng).log
    assert log is not None
    log.leave()
    yield


FAULTS: tuple[Fault, ...] = (
    *(Fault(f"SIGKILL {name}", kill(find), lasts=False) for name, find in TARGETS.items()),
    *(Fault(f"SIGSTOP {name}", stop(find), lasts=True) for name, find in TARGETS.items()),
    Fault("network reset, worker", network("resetting", callers=False), lasts=True),
    Fault("network reset, callers", network("resetting", callers=True), lasts=True),
    Fault("network silent, worker", network("silent", callers=False), lasts=True),
    Fault("network silent, callers", network("silent", callers=True), lasts=True),
    Fault("storage full", storage_full, lasts=True),
    Fault("database connections taken", database_connections, lasts=True),
    Fault("HTTP connections taken", http_connections, lasts=True),
    Fault("log unwritable", log_unwritable, lasts=False),
)
