"""SHA-256 of files, remembered as long as a file keeps its size and its time of change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cancellation import Cancelled
from ..private_file import write_private

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_CHUNK = 4 * 1024 * 1024
_REMEMBERED = 5_000


class Hashes:
    """Hashes by path, kept in one file. Any thread may use it."""

    def __init__(self, file: Path) -> None:
        """Keep them in `file`, which need not be there."""
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, list[Any]] | None = None

    def known(self, path: Path) -> str | None:
        """The hash of a file that was hashed before and has not changed since."""
        with self._lock:
            row = self._read().get(str(path))
        return str(row[2]) if row and row[:2] == _state(path) else None

    def sha256(self, path: Path, progress: Progress | None = None, cancelled: threading.Event | None = None) -> str:
        """The hash of a file, in lower-case hex. Blocks: call it in a thread.

        Raises:
            Cancelled: `cancelled` was set meanwhile.
            OSError: the file cannot be read.
        """
        found = self.known(path)
        if found is not None:
            return found
        state = _state(path)
        digest = hashlib.sha256()
        done, total = 0, int(state[0])
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if cancelled is not None and cancelled.is_set():
                    raise Cancelled
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, max(done, total))
        if _state(path) == state:
            self._remember(path, [*state, digest.hexdigest()])
        return digest.hexdigest()

    def _remember(self, path: Path, row: list[Any]) -> None:
        with self._lock:
            known = self._read()
            known.pop(str(path), None)
            known[str(path)] = row
            while len(known) > _REMEMBERED:
                del known[next(iter(known))]
            with contextlib.suppress(OSError):  # without the file it is only slower
                write_private(self._file, json.dumps(known).encode())

    def _read(self) -> dict[str, list[Any]]:
        if self._known is None:
            try:
                read = json.loads(self._file.read_bytes())
                self._known = {path: row for path, row in read.items() if isinstance(row, list) and len(row) == 3}
            except (OSError, ValueError, AttributeError):
                self._known = {}
        return self._known


def _state(path: Path) -> list[Any]:
    status = os.stat(path)  # noqa: PTH116 (follows links, as reading does)
    return [status.st_size, status.st_mtime_ns]
