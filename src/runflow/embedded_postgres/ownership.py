"""Which process runs the postmaster: the one that holds the lock; the others attach by the record it leaves."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from runflow.embedded_postgres.errors import HomeUnusable
from runflow.embedded_postgres.private_file import open_private, read_private, write_private

LOCK = "postgres.lock"
RECORD = "postgres.json"

_held: set[int] = set()


def _let_go_in_child() -> None:
    """Close the locks' descriptors in a forked child, which would otherwise hold them beyond our death."""
    while _held:
        with contextlib.suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


class OwnershipLock:
    """An advisory lock on a file that the kernel frees when its holder dies, however it dies.

    The file itself stays: removing it would let two processes hold the lock on two files of one name.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free and say whether we hold it. Raises HomeUnusable."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = open_private(self.path, os.O_RDWR)
        except OSError as error:
            raise HomeUnusable(
                f"The lock file {self.path} cannot be opened: {error.strerror}. "
                "Start Runflow as the user that owns this folder, and make sure that its disk is writable."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise HomeUnusable(
                f"The file {self.path} cannot be locked: {error.strerror}. Free space on its disk, or choose a "
                "RUNFLOW_HOME on a file system that supports locks."
            ) from error
        self._descriptor = descriptor
        _held.add(descriptor)
        return True

    def holder(self) -> str:
        """Return the process id of the last holder, for messages only."""
        with contextlib.suppress(OSError):
            return self.path.read_text().strip() or "unknown"
        return "unknown"

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        # In a forked child the descriptor is closed already.
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What another process needs, beside the password file, to reach a running server."""

    socket_dir: str
    port: int
    user: str
    database: str
    postmaster_pid: int
    owner_pid: int

    def write(self, home: Path) -> None:
        """Publish the record. Raises OSError."""
        write_private(home / RECORD, json.dumps(asdict(self)) + "\n")


def read_record(home: Path) -> ServerRecord | None:
    """Return the record of the running server, or None if there is none (yet). Raises OSError."""
    text = read_private(home / RECORD)
    if text is None:
        return None
    try:
        return ServerRecord(**json.loads(text))
    except (ValueError, TypeError):
        # Written by another release; its owner is about to go or to write a new one.
        return None


def remove_record(home: Path) -> None:
    """Withdraw the record. Raises OSError."""
    (home / RECORD).unlink(missing_ok=True)
