"""Files on the local disk, by blocking calls: `Storage` makes them in threads of its own.

A file is written under a nameless path in the folder `.incoming` and gets its key by a rename, so a key shows either
nothing, or the old bytes, or all of the new ones.

`settle` brings an object to the disk (fsync of the file and of the folders above it), so that what the database commits
afterwards never names an object that a power cut takes back. It is a step of its own because it is the slow one: for
100 KB on ext4 on a virtual disk, writing took 0.2 ms and settling 0.5 ms on an idle machine but 1 to 10 ms while others
wrote (a file-system journal commit waits for everybody's data; PostgreSQL's own log, written in place, took 0.1 ms).
"""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from runflow.storage import keys
from runflow.storage.store import Space

INCOMING = ".incoming"
"""No key begins with a dot, so nothing in here can be named by one."""
ABANDONED_SECONDS = 6 * 3600
"""A file in `.incoming` that was not written to for so long belongs to a process that died."""

BLOCK_BYTES = 1024 * 1024
"""Files up to this size are written and read in one step in one thread; larger ones pass through in such blocks."""
_TRIES = 20
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)


class LocalDisk:
    """Objects as files below one folder, which only the server's own user can read."""

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        """Use (and make) the folder `root`; leave `reserve_bytes` of its file system free."""
        self.root = root
        self._reserve_bytes = reserve_bytes
        self._incoming = root / INCOMING
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)

    def space(self) -> Space:
        """Return the size of the file system, and what is free above the reserve. Raises OSError."""
        found = os.statvfs(self.root)
        free = found.f_bavail * found.f_frsize - self._reserve_bytes
        return Space(free_bytes=max(0, free), total_bytes=found.f_blocks * found.f_frsize)

    def path(self, key: str) -> Path:
        """Return where the object of this key lies; never outside the root. Raises `InvalidKey`."""
        return self.root / keys.validate(key)

    def begin(self) -> "PartialFile":
        """Return a file to write to, still without a key and without a place on disk."""
        return PartialFile(self._incoming / secrets.token_hex(16), self._reserve_bytes)

    def finish(self, partial: "PartialFile", rest: Iterable[bytes], path: Path) -> None:
        """Write the last bytes, and give the file its key. It is visible now, and not yet settled."""
        partial.write(rest)
        _in_folder(path, lambda: partial.publish(path))

    def finish_new(self, partial: "PartialFile", path: Path) -> bool:
        """Give a file that is written a key that none has yet, and return True; False where one has it, which stays."""
        made = True

        def publish() -> None:
            nonlocal made
            made = partial.publish_new(path)

        _in_folder(path, publish)
        return made

    def settle(self, path: Path) -> os.stat_result:
        """Bring an object and its name to the disk. Bytes that the disk did not take are removed, and OSError raised.

        Raises FileNotFoundError where there is no such object.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            os.fsync(descriptor)
        except OSError:
            # The system reports a lost write once; the next fsync would call the rest of the file good.
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        folder = path
        while folder != self.root:
            folder = folder.parent
            _sync(folder)
        return found

    def copy(self, source: Path, target: Path) -> None:
        """Give the bytes of an object a second key; later writes to the first do not touch it.

        Raises FileNotFoundError where there is no such object.
        """
        source.stat()
        try:
            _in_folder(target, lambda: os.link(source, target))
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._copy_bytes(source, target)

    def _copy_bytes(self, source: Path, target: Path) -> None:
        partial = self.begin()
        try:
            with source.open("rb") as file:
                self.finish(partial, iter(lambda: file.read(BLOCK_BYTES), b""), target)
        finally:
            partial.discard()

    def open(self, path: Path) -> BinaryIO:
        """Open an object for reading."""
        return path.open("rb")

    def read(self, path: Path, start: int, length: int) -> bytes:
        """Return one stretch of an object."""
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(length)

    def probe(self) -> None:
        """Write a byte and take it away again. Raises OSError where that is not possible."""
        partial = self.begin()
        try:
            partial.write([b"."])
        finally:
            partial.discard()

    def sweep_abandoned(self) -> int:
        """Remove what killed processes left half written, and return how many files that were."""
        removed = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                    path.unlink()
                    removed += 1
        return removed


class PartialFile:
    """A file on its way in. Its methods may be called from different threads, and `discard` at any time."""

    def __init__(self, path: Path, reserve_bytes: int) -> None:
        """Remember where to write, and what to leave free; the file is made by the first `write`."""
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._descriptor = -1
        self._over = False
        # Without it, a discard during a write would close a descriptor that the write still uses.
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of what was written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append. Raises OSError, e.g. when the disk is full, or only the reserve is left."""
        with self._lock:
            if self._over:
                return
            if self._descriptor < 0:
                self._descriptor = self._create()
            self._keep_reserve()
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._descriptor, view) :]
                self._hash.update(chunk)
                self.size += len(chunk)

    def _keep_reserve(self) -> None:
        # The database lies on the same disk as a rule, and a full one stops it.
        if self._reserve_bytes:
            found = os.fstatvfs(self._descriptor)
            if found.f_bavail * found.f_frsize < self._reserve_bytes:
                raise OSError(errno.ENOSPC, "only the reserve is left (RUNFLOW_STORAGE_RESERVE_BYTES)")

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            # Another disk was mounted over the folder since the start, or someone emptied it.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._path, flags, 0o600)

    def publish(self, target: Path) -> None:
        """Move to `target`."""
        with self._lock:
            if self._over:
                return
            if target.exists():
                # Bytes that someone may rely on give way only to bytes that are on the disk.
                os.fsync(self._descriptor)
            self._path.replace(target)
            self._close()

    def publish_new(self, target: Path) -> bool:
        """Move to `target` and return True, or leave what is there and return False."""
        with self._lock:
            if self._over:
                return True
            try:
                os.link(self._path, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # Without links the two steps can only be near each other.
                if target.exists():
                    return False
                self._path.replace(target)
            else:
                self._path.unlink()
            self._close()
            return True

    def discard(self) -> None:
        """Forget it all; does nothing after `publish`."""
        with self._lock:
            if self._descriptor >= 0:
                self._close()
                self._path.unlink(missing_ok=True)
            self._over = True

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        self._over = True


def _in_folder(path: Path, make: Callable[[], None]) -> None:
    """Make the folder of `path`, then do what makes `path` itself.

    A deletion beside it takes empty folders away, so it can vanish in between, and also while it is being made.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make()
            return
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
