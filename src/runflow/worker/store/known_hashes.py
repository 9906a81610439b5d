"""What SHA-256 the files in the operator's own model folders have: each read once, for all workers of the machine.

Only what no engine can write to may go in: whoever can open a file for writing can change it through a mapping, and no
time of the file shows that. The operator's folders are such; a file there counts as long as device, inode, size and
time of writing are those that it was read with. (Not the time of change: engines are given further names of the file.)

The file of hashes is a log of JSON lines. An entry is one short append, so processes share it, and whoever is killed
loses the entry that it was writing at most.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from runflow.worker.store.locks import Holds

log = structlog.get_logger()

_PIECE_BYTES = 8 * 2**20
_TICK_SECONDS = 0.02
"""A file system's clock may stand still for so long: two writes within it leave the same times."""
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")

_State = tuple[int, int, int, int]
"""Device, inode, size in bytes, and when it was written to last, in nanoseconds."""


class FileChanged(Exception):
    """The file was written to while it was read; the message says which, and what to do."""


class _Entry(NamedTuple):
    """A line of the log: which file, its state when it was read, and its hash."""

    path: str
    device: int
    inode: int
    size_bytes: int
    written_at: int
    sha256: str

    @property
    def state(self) -> _State:
        return self.device, self.inode, self.size_bytes, self.written_at

    @classmethod
    def parse(cls, line: bytes) -> "_Entry | None":
        """Return the entry of a line, None where it is torn or not ours."""
        try:
            entry = cls(**json.loads(line))
        except (TypeError, ValueError):
            return None
        is_whole = (
            isinstance(entry.path, str)
            and all(isinstance(part, int) for part in entry.state)
            and isinstance(entry.sha256, str)
            and _SHA256.fullmatch(entry.sha256)
        )
        return entry if is_whole else None

    def line(self) -> bytes:
        # It begins a line, too: what was torn before it must not take it along.
        return b"\n" + json.dumps(self._asdict()).encode() + b"\n"


def _state(found: os.stat_result) -> _State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class KnownHashes:
    """Remembers hashes in a file, its locks beside it. Threads may share it; `hash` belongs to one event loop."""

    def __init__(self, file: Path) -> None:
        """Read what is remembered; write it anew where more than half of it is stale. Raises OSError."""
        self._file = file
        self._of_path: dict[str, _Entry] = {}
        self._of_file: dict[tuple[int, int], _Entry] = {}
        self._with_content: dict[str, set[str]] = {}
        self._guard = threading.RLock()
        self._seen: tuple[int, int] | None = None  # inode and size of the log when it was read last
        self._offset = self._lines = 0
        self._jobs: dict[Path, _Job] = {}
        self._quiet = ThreadPoolExecutor(1, thread_name_prefix="hash", initializer=_be_last)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.claims = Holds(file.with_suffix(".locks"))
        """Who reads which file in the background, by a hash of its path."""
        self._compact()

    def known(self, path: Path) -> str | None:
        """Return the SHA-256 of a file that is as it was when it was read, else None; its content is not read."""
        try:
            state = _state(path.stat())
        except OSError:
            return None
        for look_again in (True, False):
            entry = self._of_file.get(state[:2])
            if entry is not None and entry.state == state:
                return entry.sha256
            if look_again:
                self._refresh()
        return None

    def find(self, sha256: str, counts: Callable[[Path], bool] = lambda _: True) -> Path | None:
        """Return a file that has this content and is as it was when it was read, None where there is none.

        `counts`: whether a file is asked for at all.
        """
        self._refresh()
        with self._guard:
            paths = [Path(path) for path in self._with_content.get(sha256, ())]
        return next((path for path in paths if counts(path) and self.known(path) == sha256), None)

    async def hash(self, path: Path, *, turn: asyncio.Event | None = None) -> str:
        """Return the SHA-256 of a file, read unless it is known, and remember it.

        With `turn` it is read in the background: at the lowest priority, and only while `turn` is set. Who asks for it
        without joins such a reading, which goes on at once. Raises `FileChanged`, and OSError.
        """
        known = await asyncio.to_thread(self.known, path)
        if known is not None:
            return known
        job = self._jobs.get(path)
        if job is None:
            job = self._jobs[path] = _Job(turn or asyncio.Event())
            job.task = asyncio.create_task(self._read(path, job))
        if turn is None:
            job.hurry.set()
        job.waiting += 1
        try:
            return await asyncio.shield(job.task)
        finally:
            job.waiting -= 1
            if job.waiting == 0 and self._jobs.get(path) is job:
                del self._jobs[path]
                job.task.cancel()  # does nothing to one that is done
                await asyncio.wait([job.task])

    def forget_missing(self) -> int:
        """Forget the files that are gone, and return how many. Blocks for the disk. Raises OSError."""
        with self._locked(fcntl.LOCK_EX):
            self._refresh()
            gone = [entry for entry in self._of_path.values() if _now(entry) is None]
            if gone:
                self._rewrite_without(gone)
        return len(gone)

    async def _read(self, path: Path, job: "_Job") -> str:
        reading = _Reading(path)
        try:
            await _to_its_end(None, reading.begin)
            if time.time_ns() - reading.written_at < _TICK_SECONDS * 1e9:
                await asyncio.sleep(_TICK_SECONDS)  # what is written from now on shows another time
            while True:
                await _any_of(job.turn, job.hurry)
                if not await _to_its_end(None if job.hurry.is_set() else self._quiet, reading.piece):
                    break
        finally:
            reading.close()
        entry = reading.entry()
        await _to_its_end(None, lambda: self._append(entry))
        return entry.sha256

    def _append(self, entry: _Entry) -> None:
        try:
            with self._locked(fcntl.LOCK_SH):
                descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.write(descriptor, entry.line())
                finally:
                    os.close(descriptor)
        except OSError as error:
            log.warning(
                "The hash of a model file could not be stored, so the next worker reads it again. See to the disk.",
                file=str(self._file),
                reason=error.strerror,
            )
        self._note(entry)

    def _note(self, entry: _Entry) -> None:
        with self._guard:
            self._forget(entry.path)
            self._of_path[entry.path] = entry
            self._of_file[entry.state[:2]] = entry
            self._with_content.setdefault(entry.sha256, set()).add(entry.path)

    def _forget(self, path: str) -> None:
        before = self._of_path.pop(path, None)
        if before is not None:
            self._with_content[before.sha256].discard(path)
            if not self._with_content[before.sha256]:
                del self._with_content[before.sha256]

    def _refresh(self) -> None:
        """Take in what was appended since, by whichever process."""
        with self._guard:
            try:
                now = self._file.stat()
            except FileNotFoundError:
                return
            if self._seen == (now.st_ino, now.st_size):
                return
            with self._file.open("rb") as file:
                now = os.fstat(file.fileno())
                if self._seen is None or self._seen[0] != now.st_ino or now.st_size < self._offset:
                    self._offset = self._lines = 0  # written anew
                file.seek(self._offset)
                whole, newline, _ = file.read(now.st_size - self._offset).rpartition(b"\n")
            self._seen = now.st_ino, now.st_size
            self._offset += len(whole) + len(newline)
            for line in filter(None, whole.split(b"\n")):
                self._lines += 1
                entry = _Entry.parse(line)
                if entry is not None:
                    self._note(entry)

    def _compact(self) -> None:
        # A file that is not there is not stale: its disk may not be mounted yet.
        with contextlib.suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._refresh()
            changed = [entry for entry in self._of_path.values() if _now(entry) not in (None, entry.state)]
            stale = self._lines - (len(self._of_path) - len(changed))
            if 2 * stale > self._lines:
                self._rewrite_without(changed)
        self._refresh()

    def _rewrite_without(self, entries: list[_Entry]) -> None:
        with self._guard:
            for entry in entries:
                self._forget(entry.path)
                if self._of_file.get(entry.state[:2]) == entry:
                    del self._of_file[entry.state[:2]]
            fresh = self._file.with_name(f"{self._file.name}.part")
            with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.writelines(entry.line() for entry in self._of_path.values())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Keep the log from being written anew, or with an exclusive lock from being appended to."""
        lock = self._file.with_name(f"{self._file.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def _now(entry: _Entry) -> _State | None:
    """Return the state of the entry's file as it is now, None where it is not there."""
    try:
        return _state(Path(entry.path).stat())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return entry.state  # it may be there, and nothing says that it is another


class _Job:
    """A reading that is going on, and who waits for it."""

    task: asyncio.Task[str]

    def __init__(self, turn: asyncio.Event) -> None:
        self.turn = turn
        self.hurry = asyncio.Event()
        self.waiting = 0


class _Reading:
    """A file that is read piece by piece, each in whichever thread."""

    written_at = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._descriptor: int | None = None
        self._offset = 0

    def begin(self) -> None:
        self._descriptor = os.open(self._path, _OPEN)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{self._path} is no plain file, so it has no hash")
        self._before = _state(found)
        self.written_at = found.st_mtime_ns
        self._buffer = memoryview(bytearray(min(_PIECE_BYTES, found.st_size + 1)))

    def piece(self) -> bool:
        """Read on, and return whether there was something."""
        assert self._descriptor is not None
        size = os.preadv(self._descriptor, [self._buffer], self._offset)
        self._digest.update(self._buffer[:size])
        self._offset += size
        if _state(os.fstat(self._descriptor)) != self._before:
            raise FileChanged(f"{self._path} was written to while it was read. Try again when nobody writes to it.")
        return size > 0

    def entry(self) -> _Entry:
        return _Entry(os.path.abspath(self._path), *self._before, self._digest.hexdigest())  # noqa: PTH100 (keeps links)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


async def _to_its_end(pool: Executor | None, work: Callable[[], T]) -> T:
    """Do short work in a thread, which is waited for when we are cancelled: it uses what is closed then."""
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def _any_of(*events: asyncio.Event) -> None:
    if any(event.is_set() for event in events):
        return
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_THIS_THREAD = (1, 0)
_IDLE = 3 << 13


def _be_last() -> None:
    """Let everything else have processor and disk before this thread, where the system can do that for a thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        number = _IOPRIO_SET.get(platform.machine())
        if number is not None:
            ctypes.CDLL(None).syscall(number, *_THIS_THREAD, _IDLE)


class BackgroundHasher:
    """Reads the files whose hash is not known, small ones first, one at a time of all workers of the machine each."""

    def __init__(
        self,
        known: KnownHashes,
        list_files: Callable[[], Iterable[Path]],
        *,
        on_hashed: Callable[[Path, str], None] = lambda path, sha256: None,
        every_seconds: float = 30.0,
    ) -> None:
        """Look through what `list_files` returns, called in a thread, every so many seconds.

        `on_hashed` is told each hash that became known since, whichever worker has read the file.
        """
        self._known = known
        self._list_files = list_files
        self._on_hashed = on_hashed
        self._every_seconds = every_seconds
        self._woken = asyncio.Event()
        self._turn = asyncio.Event()
        self._turn.set()
        self._pauses = 0
        self._waiting: set[Path] = set()
        self._told: set[Path] = set()

    def wake(self) -> None:
        """Look through the files again now: there may be others."""
        self._woken.set()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Read nothing within the block, beyond the piece that is being read; for as many at a time as there are."""
        self._pauses += 1
        self._turn.clear()
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                self._turn.set()

    async def run(self) -> None:
        """Go through the files again and again, until it is cancelled."""
        while True:
            self._woken.clear()
            for path in await self._unknown():
                await self._turn.wait()
                if self._woken.is_set():
                    break
                await self._hash(path)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):
                    await self._woken.wait()

    async def _unknown(self) -> list[Path]:
        """Return the files to be read, and tell of those that others have read."""
        try:
            unknown = await asyncio.to_thread(self._look)
        except OSError as error:
            log.warning("The model folders cannot be looked through. See to the disk.", reason=str(error))
            return []
        for path in sorted(self._waiting.difference(unknown)):
            sha256 = self._known.known(path)
            if sha256 is not None:
                self._on_hashed(path, sha256)
        self._waiting = set(unknown)
        return unknown

    def _look(self) -> list[Path]:
        self._known.claims.prune(())
        sizes: dict[Path, int] = {}
        for path in self._list_files():
            if self._known.known(path) is None:
                with contextlib.suppress(OSError):
                    sizes[path] = path.stat().st_size
        return sorted(sizes, key=lambda path: (sizes[path], path))

    async def _hash(self, path: Path) -> None:
        try:
            claim = self._known.claims.try_alone(hashlib.sha256(os.fsencode(path)).hexdigest())
            if claim is None:
                return  # another worker reads it
            with claim:
                sha256 = await self._known.hash(path, turn=self._turn)
        except (FileChanged, FileNotFoundError):
            return  # whoever writes it is not done: it is seen again
        except OSError as error:
            if path not in self._told:
                self._told.add(path)
                log.warning(
                    "A model file cannot be read, so its hash is not known. See whether this worker may read it.",
                    path=str(path),
                    reason=error.strerror or str(error),
                )
            return
        self._waiting.discard(path)
        self._on_hashed(path, sha256)
