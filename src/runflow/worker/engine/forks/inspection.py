"""How the worker looks at a forked engine from outside.

What shuts an engine in is Python in a process that has imported node packs, which could have changed it.
"""

import errno
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from runflow.worker.engine.isolation.rungs import Sandbox
from runflow.worker.engine.isolation.view import LIVES, RUNTIME

NOT_FOUND = "its processes cannot be found"
SERVED_BY_OTHERS = "a process that is none of it holds the socket that it serves on"
"""May be so for a moment after the fork."""
_CAPABILITIES = ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EINVAL})
"""What the kernel says of a process or thread that has ended, or is about to."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One engine. `first`: the process that everything of the fork server is below.

    `number`: that which the fork server knows the engine by; `socket`: the inode of the one that it serves on.
    """

    sandbox: Sandbox
    first: int
    number: int
    socket: int

    def fault(self) -> str | None:
        """Return what is wrong with how it is held, None if it is as it must be.

        Each thread of each of its processes is shut in, and nobody else below the fork server can answer for it.
        """
        try:
            everything = psutil.Process(self.first).children(recursive=True)
            engine = [process.pid for process in processes_of(self.first, self.number)]
            depth = _depth(_status(Path(f"/proc/{self.first}")))
            faults = [self._fault(task, depth) for pid in engine for task in _tasks(pid)]
            if not any(was_there for was_there, _ in faults):
                return NOT_FOUND
            if fault := next((fault for _, fault in faults if fault is not None), None):
                return fault
            others = [process.pid for process in everything if process.pid not in engine]
            return self._fault_of_others(others, depth)
        except OSError as error:
            return f"it cannot be looked at: {error.strerror}"
        except psutil.Error:
            return NOT_FOUND

    def _fault(self, task: Path, depth: int) -> tuple[bool, str | None]:
        """Return whether this thread is there, and what is wrong with it."""
        try:
            status = _status(task)
            if status["State"].startswith(("Z", "X")):
                return False, None
            mounts = (task / "mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno in _GONE:
                return False, None
            raise
        places = [line.split()[4] for line in mounts.splitlines()][::-1]  # the uppermost first
        if any(int(status[name], 16) for name in _CAPABILITIES):
            return True, "it kept rights of the fork server"
        if status.get("NoNewPrivs") != "1":
            return True, "it may gain rights"
        if _depth(status) != depth + 2:
            return True, "it is not alone among its processes"
        if self.sandbox.in_users and self.sandbox.count > 1 and str(self.sandbox.users) in status["Uid"].split():
            return True, "it has the fork server's user"
        if RUNTIME not in places or LIVES in places[: places.index(RUNTIME)]:
            return True, "it sees the folders of other engines"
        return True, None

    def _fault_of_others(self, others: Collection[int], depth: int) -> str | None:
        wanted = f"socket:[{self.socket}]"
        for pid in others:
            try:
                is_held = any(wanted in _open(task) for task in _tasks(pid))
            except PermissionError:
                if not self._is_harmless(pid, depth):
                    raise
                continue
            if is_held:
                return SERVED_BY_OTHERS
        return None

    def _is_harmless(self, pid: int, depth: int) -> bool:
        """Whether it is the sandbox's first process, which hides its memory and runs our code alone, or is shut in."""
        tasks = list(_tasks(pid))
        is_first = bool(tasks) and _numbers(_status(tasks[0]))[depth:] == ["1"]
        return is_first or not any(fault for _, fault in (self._fault(task, depth) for task in tasks))


def all_below(pid: int) -> list[psutil.Process]:
    """Return whatever a process has started, by reading every process of the machine. Raises psutil.Error."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def processes_of(
    first: int, number: int, below: Callable[[int], list[psutil.Process]] = all_below
) -> list[psutil.Process]:
    """Return an engine's processes, by the number that the fork server below `first` knows it by."""
    for candidate in below(first):
        try:
            numbers = _numbers(_status(Path(f"/proc/{candidate.pid}")))
        except OSError:
            continue
        if numbers[1:2] == [str(number)]:
            return below(candidate.pid)
    return []


def _tasks(pid: int) -> Iterator[Path]:
    """Yield a process's threads: each has rights, mounts and open files of its own, if it wants."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return
    yield from tasks


def _open(task: Path) -> set[str]:
    """Return what a thread has open."""
    found = set()
    try:
        for descriptor in (task / "fd").iterdir():
            found.add(str(descriptor.readlink()))
    except OSError as error:
        if error.errno not in _GONE:
            raise
    return found


def _status(task: Path) -> dict[str, str]:
    lines = (task / "status").read_text(encoding="ascii", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _numbers(status: dict[str, str]) -> list[str]:
    """The numbers that a process has in each of the process namespaces that it is in, the machine's first."""
    return status["NSpid"].split()


def _depth(status: dict[str, str]) -> int:
    return len(_numbers(status))
