"""The server's log file, home/logs/postgres.log: bounded in size, and read back to explain a failed start."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from runflow.embedded_postgres.errors import HomeUnusable
from runflow.embedded_postgres.private_file import open_private

MAX_BYTES = 8 * 1024 * 1024
"""At this size the log moves to postgres.log.1, replacing the one before: two files at most."""


class ServerLog:
    """The log that PostgreSQL writes through a descriptor of ours, so its user needs no right to the folder."""

    def __init__(self, home: Path) -> None:
        self.path = home / "logs" / "postgres.log"
        self._descriptor: int | None = None
        self._mark = 0

    def open(self) -> int:
        """Return a descriptor that appends; lines from here on are what `tail` returns. Raises HomeUnusable."""
        self.close()
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = open_private(self.path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise HomeUnusable(
                f"The log file {self.path} cannot be opened: {error.strerror}. Start Runflow as the user that owns "
                "RUNFLOW_HOME, and make sure that its disk is writable."
            ) from error
        self.bound()
        self._mark = os.fstat(self._descriptor).st_size
        return self._descriptor

    def tail(self, lines: int = 8) -> list[str]:
        """Return the last lines since `open`; empty where there are none."""
        if self._descriptor is None:
            return []
        size = os.fstat(self._descriptor).st_size
        # After a rotation everything in the file is newer than the mark.
        start = max(self._mark if size >= self._mark else 0, size - 16384)
        text = os.pread(self._descriptor, size - start, start).decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()][-lines:]

    def bound(self) -> None:
        """Rotate if the file is too large. The server appends, so emptying the file under it is safe."""
        if self._descriptor is None or os.fstat(self._descriptor).st_size < MAX_BYTES:
            return
        # On a full disk the newest lines are worth more than the older copy.
        with contextlib.suppress(OSError):
            older = open_private(self.path.with_name(self.path.name + ".1"), os.O_WRONLY | os.O_TRUNC)
            with self.path.open("rb") as source, os.fdopen(older, "wb") as target:
                shutil.copyfileobj(source, target)
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close our descriptor; a running server keeps its own."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
