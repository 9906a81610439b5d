"""What an engine prints: each line with the time and the run that executes (docs/operations.md, "Logs").

The engine writes into a pipe and the worker writes the file, for an engine is other people's code and knows of no run.
Whoever reads the pipe lives as long as the engine does (launcher.py), so a full disk, a flood or a broken line stops
no run: what cannot be written is dropped, and nothing is kept in memory but what was read at once.
"""

import contextlib
import os
import re
import select
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from runflow.worker.engine.boundary import FILE_MODE

LIMIT_BYTES = 32 * 1024 * 1024
"""A log that is longer becomes `.log.1`."""
AFTERWARDS_SECONDS = 0.5
"""For so long after a run's end lines are still its own: ComfyUI says last how long the prompt took."""

_READ_BYTES = 64 * 1024
_TAIL_BYTES = 16 * 1024
_STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ ", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class EngineLog:
    """The log of one start of an engine, at `path`. `open` before the engine starts, `close` after its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._pipe: int | None = None
        self._file: int | None = None
        self._size = 0
        self._earlier = b""
        """The end of what was written before the file that is written to now."""
        self._within_line = False
        self._run: tuple[str, float] = ("-", float("inf"))

    def open(self) -> int:
        """Set an earlier log aside and return a descriptor to print to, which the caller closes once it is handed over.

        Raises OSError where the file cannot be written.
        """
        self._begin_file()
        self._pipe, written = os.pipe()
        os.set_blocking(self._pipe, False)
        threading.Thread(target=self._follow, args=(self._pipe,), name="engine-log", daemon=True).start()
        return written

    def note_run(self, run_id: str | None) -> None:
        """Take what is printed from now on for this run's; None: the run has ended."""
        if run_id is not None:
            self._run = run_id, float("inf")
        else:
            self._run = self._run[0], time.monotonic() + AFTERWARDS_SECONDS

    def tail(self) -> str:
        """Return the end of the log as the engine said it: all that it has said by now, without stamps and colours."""
        with self._guard:
            self._take()
            said = self._end_of_file()
        return _COLOURS.sub("", _STAMP.sub(b"", said).decode(errors="replace"))

    def close(self) -> None:
        """Write what is left in the pipe, and listen no longer, whoever may still have its other end."""
        with self._guard:
            self._take()
            self._end()

    def _follow(self, pipe: int) -> None:
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while True:
            ready.poll()
            with self._guard:
                if self._pipe is None or not self._take():
                    self._end()
                    return

    def _take(self) -> bool:
        """Write what is in the pipe now; tell whether more may come. A flood is left for the next time."""
        if self._pipe is None:
            return False
        for _ in range(4):
            try:
                content = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return True
            if not content:
                return False
            self._write(content)
        return True

    def _end(self) -> None:
        self._earlier = self._end_of_file()
        for descriptor in (self._pipe, self._file):
            if descriptor is not None:
                os.close(descriptor)
        self._pipe = self._file = None

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk
            if self._size > LIMIT_BYTES:
                self._begin_file()
                self._within_line = False
            said = self._stamped(content)
            if self._file is not None:
                self._size += os.write(self._file, said)

    def _stamped(self, content: bytes) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        run, until = self._run
        stamp = f"{now}Z {run if time.monotonic() < until else '-'} ".encode()
        lines, ended, _ = content.rpartition(b"\n") if content.endswith(b"\n") else (content, b"", b"")
        first = b"" if self._within_line else stamp
        self._within_line = not ended
        return first + lines.replace(b"\n", b"\n" + stamp) + ended

    def _begin_file(self) -> None:
        """Begin the file anew and keep the one before it. No other user of the machine reads them: it tells of runs."""
        self._earlier = self._end_of_file()
        if self._file is not None and not self._has_the_path():
            os.ftruncate(self._file, 0)  # a newer engine took the path: what lies there is not ours to set aside
            self._size = 0
            return
        older = self.path.with_suffix(".log.1")
        with contextlib.suppress(OSError):
            self.path.replace(older)
            older.chmod(FILE_MODE)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = descriptor, 0

    def _has_the_path(self) -> bool:
        """Tell whether the file that we write to is still the one with the path, which newer engines take over."""
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file), self.path.lstat())
        except OSError:
            return False

    def _end_of_file(self) -> bytes:
        """Return the end of what was written: by the descriptor, for another engine's log may have the path by now."""
        if self._file is None:
            return self._earlier
        with contextlib.suppress(OSError):
            size = os.fstat(self._file).st_size
            return (self._earlier + os.pread(self._file, _TAIL_BYTES, max(0, size - _TAIL_BYTES)))[-_TAIL_BYTES:]
        return self._earlier
