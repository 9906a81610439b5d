"""What SHA-256 files had when they were read, for as long as nothing has been written to them since.

A file that was written to has another time of change (`ctime`), which nobody can set. So has one that got or lost a
name; where that was our own doing, `names_change` says so, and nothing needs to be read again.

This holds against whoever cannot open the file for writing. Its owner can: through a mapping whose pages are written
already, content changes and no time does. So nothing is remembered where an engine may have the owner's rights.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Content(NamedTuple):
    """Where a file lies, and when it was written to last. Times in nanoseconds."""

    device: int
    inode: int
    size_bytes: int
    written_at: int
    changed_at: int

    @classmethod
    def of(cls, state: os.stat_result) -> "_Content":
        return cls(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


class VerifiedFiles:
    """Remembers hashes, while `is_safe` says that nobody but us can write to the files.

    Threads may share it; nothing in it waits for a file's content but `read`.
    """

    def __init__(self, is_safe: Callable[[], bool] = lambda: True) -> None:
        self._is_safe = is_safe
        self._known: dict[tuple[int, int], tuple[_Content, str]] = {}
        self._changing = threading.Lock()

    def recall(self, path: Path) -> str | None:
        """Return the SHA-256 of a file that is as it was when it was read, else None. Raises OSError."""
        now = _Content.of(path.stat())
        known = self._known.get((now.device, now.inode))
        return known[1] if known is not None and known[0] == now and self._is_safe() else None

    def read(self, path: Path) -> str:
        """Read a file and return its SHA-256. Raises OSError."""
        with path.open("rb") as file:
            before = _Content.of(os.fstat(file.fileno()))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = _Content.of(os.fstat(file.fileno()))
        if before == after and self._is_safe():
            self._known[before.device, before.inode] = before, sha256
        return sha256

    @contextlib.contextmanager
    def names_change(self, descriptor: int) -> Iterator[None]:
        """Within it we give the open file a name or a mode, or take one away, and change nothing else of it."""
        with self._changing:
            before = _Content.of(os.fstat(descriptor))
            yield
            after = _Content.of(os.fstat(descriptor))
            known = self._known.get((before.device, before.inode))
            if known is not None and known[0] == before and before[:4] == after[:4]:
                self._known[before.device, before.inode] = after, known[1]

    def unlink_below(self, folder: Path) -> None:
        """Take away the names that such files have in a folder of ours, before it is removed with everything in it."""
        with contextlib.suppress(OSError):
            for _, _, names, within in os.fwalk(folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        self._unlink(name, within)

    def _unlink(self, name: str, within: int) -> None:
        descriptor = os.open(name, _READ, dir_fd=within)
        try:
            state = os.fstat(descriptor)
            if (state.st_dev, state.st_ino) in self._known:
                with self.names_change(descriptor):
                    os.unlink(name, dir_fd=within)
        finally:
            os.close(descriptor)
