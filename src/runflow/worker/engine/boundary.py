"""Every file that passes between the worker and an engine: by descriptor, below a folder that is held by one.

An engine runs other people's code, which may put a link, a pipe or a device where a file was, at any moment, also
between a look at it and its use. So nothing here follows a link, waits for what is no file, or names a place twice.
"""

import contextlib
import ctypes
import errno
import io
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

FOLDER_MODE = 0o750
FILE_MODE = 0o640

_CHUNK_BYTES = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 3

NO_FOLDER = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EXDEV})
"""What an open says of a path that leads over something other than folders."""


class NotAFile(Exception):
    """What is there is no plain file of its own; the message says what it is, in a sentence that begins with "It"."""


class BudgetSpent(Exception):
    """A folder holds more than we look at, or looking at it takes longer than we give it."""


class Budget:
    """How many entries of folders, and how many seconds, a piece of work may take."""

    def __init__(self, entries: int = 1_000_000, seconds: float = 60.0) -> None:
        self._entries = entries
        self._spent = 0
        self._until = time.monotonic() + seconds

    def spend(self) -> None:
        """Count one entry. Raises `BudgetSpent`."""
        if self._spent == self._entries or (self._spent % 64 == 0 and time.monotonic() > self._until):
            raise BudgetSpent
        self._spent += 1


class OpenedOutput:
    """A file of an engine, held by its descriptor. Looking at it and sending it both read from that."""

    def __init__(self, descriptor: int, name: str, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        """Its size when it was opened."""
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._readers = 0
        self._is_closed = False

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the file ends. Raises OSError."""
        with self._in_use() as descriptor:
            content = os.pread(descriptor, size, offset)
            while 0 < len(content) < size:
                more = os.pread(descriptor, size - len(content), offset + len(content))
                if not more:
                    break
                content += more
            return content

    def size_now(self) -> int:
        """Return how large it is by now."""
        with self._in_use() as descriptor:
            return os.fstat(descriptor).st_size

    def reader(self) -> BinaryIO:
        """Return it as a file to read from, with a position of its own."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Let go of it; a read in another thread ends first."""
        with self._guard:
            was_closed, self._is_closed = self._is_closed, True
            is_last = not was_closed and not self._readers
        if is_last:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Let go of it."""
        self.close()

    def __del__(self) -> None:
        """Let go of it, whoever forgot to."""
        self.close()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[int]:
        with self._guard:
            if self._is_closed:
                raise OSError(errno.EBADF, "The file is closed.")
            self._readers += 1
        try:
            yield self._descriptor
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._readers -= 1
            is_last = self._is_closed and not self._readers
        if is_last:
            os.close(self._descriptor)


class _Reader(io.RawIOBase):
    def __init__(self, opened: OpenedOutput) -> None:
        self._opened = opened
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._opened.size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        content = self._opened.read(len(buffer), self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def open_own(path: Path, name: str) -> OpenedOutput:
    """Open a file that lies in a folder of the worker. Raises OSError and `NotAFile`."""
    with Folder.at(path.parent) as folder:
        return folder.open_file(path.name, name)


class Folder:
    """A folder held by its descriptor; names and paths are below it. Everything raises OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> Self:
        """Hold a folder of ours by its path; its last part may be no link."""
        return cls(os.open(path, _FOLDER))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def folder(self, path: str) -> "Folder":
        """Hold a folder below this one."""
        return Folder(_open_below(self.descriptor, path, _FOLDER))

    def open_file(self, path: str, name: str | None = None) -> OpenedOutput:
        """Open a plain file below this folder. Raises `NotAFile` for anything else, and never waits for it."""
        try:
            descriptor = _open_below(self.descriptor, path, _READ)
        except OSError as error:
            if (why := _NOT_OPENED.get(error.errno or 0)) is None:
                raise
            raise NotAFile(why) from None
        except ValueError:
            raise NotAFile("Its name cannot be that of a file.") from None
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise NotAFile(f"It is {_kind(state.st_mode)}, not a plain file.")
            if state.st_nlink > 1:
                raise NotAFile("It is a hard link: the same file has another name somewhere else.")
            if state.st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "It was removed while it was opened")
        except BaseException:
            os.close(descriptor)
            raise
        return OpenedOutput(descriptor, name or path.rpartition("/")[2], state.st_size)

    def make(self, name: str, uid: int | None) -> "Folder":
        """Hold the folder of this name, made where it is missing or where something else is in its place."""
        for tries_left in reversed(range(_TRIES)):
            with contextlib.suppress(FileExistsError):
                return self.make_new(name, uid)
            try:
                return self._enter(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in NO_FOLDER or not tries_left:
                    raise
                self.unlink(name)
        raise OSError(errno.EBUSY, "Something else comes back in the place of this folder", name)

    def make_new(self, name: str, uid: int | None) -> "Folder":
        """Make a folder and hold it. It belongs to `uid`. Raises FileExistsError."""
        os.mkdir(name, 0o700, dir_fd=self.descriptor)
        descriptor = os.open(name, _FOLDER, dir_fd=self.descriptor)
        try:
            # Whoever owns the folder above may have put another one in the place of ours meanwhile.
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise OSError(errno.EBUSY, "A folder was replaced while it was made", name)
            _hand_over(descriptor, FOLDER_MODE, uid)
        except BaseException:
            os.close(descriptor)
            raise
        return Folder(descriptor)

    def hand_over(self, uid: int | None) -> None:
        """Let `uid` own this folder, and close it to others."""
        _hand_over(self.descriptor, FOLDER_MODE, uid)

    def let_in(self, gid: int | None) -> None:
        """Keep this folder ours, closed to others but a group, which may read and enter it."""
        os.fchmod(self.descriptor, FOLDER_MODE)
        if gid is not None:
            os.fchown(self.descriptor, -1, gid)

    def has(self, name: str) -> bool:
        """Tell whether anything has this name."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def copy_in(self, source: Path, name: str, uid: int | None, *, mode: int = FILE_MODE) -> None:
        """Copy a file of the worker to a new file of this name, which belongs to `uid` when it is whole."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            os.unlink(name, dir_fd=self.descriptor)
        target = os.open(name, _WRITE, 0o600, dir_fd=self.descriptor)
        try:
            with source.open("rb", buffering=0) as file:
                _copy(file.fileno(), target)
            if os.fstat(target).st_nlink != 1:
                raise OSError(errno.EMLINK, "The file got another name while it was written", name)
            _hand_over(target, mode, uid)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self.descriptor)
            raise
        finally:
            os.close(target)

    def identity(self) -> tuple[int, int]:
        """Return what makes this folder this one and no other."""
        state = os.fstat(self.descriptor)
        return state.st_dev, state.st_ino

    def remove(self, name: str, budget: Budget) -> None:
        """Remove what has this name, a folder with everything in it; nothing is fine. Raises `BudgetSpent`."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):  # PermissionError: a folder, on macOS
            with self._enter(name) as folder:
                folder.empty(budget)
            os.rmdir(name, dir_fd=self.descriptor)

    def empty(self, budget: Budget) -> None:
        """Remove everything in this folder. Raises `BudgetSpent`.

        Folders are moved up until none lies within another: however deep they were, three descriptors are enough.
        """
        pending = self._unlink_files(budget)
        while pending:
            name = pending.pop()
            with self._enter(name) as below:
                for inner in below._unlink_files(budget):
                    fresh = f".{secrets.token_hex(8)}"
                    below._move(inner, self, fresh)
                    pending.append(fresh)
            try:
                os.rmdir(name, dir_fd=self.descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                budget.spend()
                pending.append(name)

    def entries(self, budget: Budget) -> "Iterator[os.DirEntry[str]]":
        """Yield what is in it, as far as the budget goes; `stat(follow_symlinks=False)` looks below the descriptor."""
        with os.scandir(self.descriptor) as found:
            for entry in found:
                budget.spend()
                yield entry

    def _unlink_files(self, budget: Budget) -> list[str]:
        """Remove what is no folder; return the names of the folders."""
        folders = []
        for entry in self.entries(budget):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                self.unlink(entry.name)
        return folders

    def unlink(self, name: str) -> None:
        """Remove what is no folder; nothing is fine."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def _move(self, name: str, to: "Folder", fresh: str) -> None:
        try:
            os.rename(name, fresh, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)
        except PermissionError:  # a folder that moves must be writable
            _open_up(name, self.descriptor)
            os.rename(name, fresh, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def _enter(self, name: str) -> "Folder":
        """Hold a folder in this one, on the same disk, also where its owner has closed it to himself."""
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=self.descriptor)
        except PermissionError:
            _open_up(name, self.descriptor)
            descriptor = os.open(name, _FOLDER, dir_fd=self.descriptor)
        state = os.fstat(descriptor)
        if state.st_dev != os.fstat(self.descriptor).st_dev:
            os.close(descriptor)
            raise OSError(errno.EXDEV, "Another disk is mounted in the engine's folder", name)
        if stat.S_IMODE(state.st_mode) & 0o700 != 0o700:
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, stat.S_IMODE(state.st_mode) | 0o700)
        return Folder(descriptor)


_NOT_OPENED = {
    errno.ELOOP: "It is a link, or lies behind one.",
    errno.ENOTDIR: "It lies behind a link, or behind something else that is no folder.",
    errno.EXDEV: "It lies outside of the engine's folder.",
    errno.ENXIO: "It is a socket or a device, not a plain file.",
    errno.ENODEV: "It is a device, not a plain file.",
    errno.EOPNOTSUPP: "It is a socket, not a plain file.",
    errno.EWOULDBLOCK: "Another program keeps it to itself.",
    errno.EACCES: "It may not be read.",
    errno.ENAMETOOLONG: "Its name is too long.",
}
"""Why something that is there cannot be opened as a file."""


def _kind(mode: int) -> str:
    """Return in words what is no plain file."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _hand_over(descriptor: int, mode: int, uid: int | None) -> None:
    os.fchmod(descriptor, mode)
    if uid is not None:
        os.fchown(descriptor, uid, uid)


def _open_up(name: str, folder: int) -> None:
    """Let its owner into a folder; a link is left as it is."""
    try:
        os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
    except NotImplementedError:  # a C library that cannot do it without following links
        raise PermissionError(errno.EACCES, "A folder is closed to its owner", name) from None


def _copy(source: int, target: int) -> None:
    if sys.platform == "linux":
        try:
            while os.sendfile(target, source, None, 1 << 30):
                pass
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):  # a file system that cannot
                raise
    while content := os.read(source, _CHUNK_BYTES):
        view = memoryview(content)
        while view:
            view = view[os.write(target, view) :]


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SYS_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


class _Opener:
    """Opens below a descriptor: by openat2 where the kernel has it (Linux 5.6), else folder by folder."""

    def __init__(self) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall if sys.platform == "linux" else None
        if self._syscall is not None:
            self._syscall.restype = ctypes.c_long
            self._syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
            try:
                with Folder.at(Path("/")) as top:
                    os.close(self(top.descriptor, ".", _FOLDER))
            except OSError:  # an old kernel, or a container that hides the call
                self._syscall = None

    @property
    def is_one_call(self) -> bool:
        """Whether the kernel follows a path in one call."""
        return self._syscall is not None

    def __call__(self, folder: int, path: str, flags: int) -> int:
        if self._syscall is None:
            return open_step_by_step(folder, path, flags)
        how = _OpenHow(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
        name = os.fsencode(path)
        if b"\0" in name:
            raise ValueError("embedded null byte")
        while True:
            descriptor = int(self._syscall(_SYS_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how)))
            if descriptor >= 0:
                return descriptor
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), path)


def open_step_by_step(folder: int, path: str, flags: int) -> int:
    """Open `path` below `folder`, each part from the descriptor of the one before. Raises OSError."""
    parts = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    if ".." in parts or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    held = folder
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=held)
            if held != folder:
                os.close(held)
            held = below
        return os.open(parts[-1], flags | os.O_NOFOLLOW, dir_fd=held)
    finally:
        if held != folder:
            os.close(held)


_open_below = _Opener()
