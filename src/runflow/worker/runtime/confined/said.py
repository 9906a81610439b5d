"""What a build prints: head and tail of it go to a log, however much there is."""

import contextlib
from pathlib import Path
from typing import IO, Self

from runflow.worker.runtime.commands import without_credentials

KEPT_BYTES = 1 << 20
_HALF = KEPT_BYTES // 2
_TAIL_BYTES = 4096


class Said:
    """The output of one command, for a log at a path, which is added to, or for one that is open.

    The head is written as it comes, the tail at the end.
    """

    def __init__(self, log: Path | IO[bytes]) -> None:
        """Open the log. Raises OSError."""
        self._is_ours = isinstance(log, Path)
        self._log: IO[bytes] = log.open("ab", buffering=0) if isinstance(log, Path) else log
        self._room = _HALF
        self._head = b""
        self._tail = bytearray()
        self._left_out = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Write the tail, and close a log that was opened here."""
        if self._left_out:
            self._write(f"\n[{self._left_out} bytes are left out here]\n".encode())
        self._write(bytes(self._tail))
        if self._is_ours:
            self._log.close()

    def take(self, content: bytes) -> None:
        """Add what was printed."""
        head, rest = content[: self._room], content[self._room :]
        if head:
            self._room -= len(head)
            self._head = (self._head + head)[-_TAIL_BYTES:]
            self._write(head)
        self._tail += rest
        if len(self._tail) > _HALF:
            self._left_out += len(self._tail) - _HALF
            del self._tail[:-_HALF]

    def tail(self) -> str:
        """Return the end of what was printed, for people."""
        end = (self._head + self._tail[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return without_credentials(end.decode(errors="replace")).strip()

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk fails the build by itself
            self._log.write(content)
