"""Locks between the worker processes of one machine; the kernel frees them when their holder dies, however it dies.

Each is a `flock` on a descriptor of its own, so those of one process exclude each other as those of two do. To take one
away by deleting its file is a race: who opened it before would hold a lock that nobody else can see. So files stay, but
for `Holds.prune`, and whoever has locked a file looks whether it is still the one of that name.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Self

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FIRST_DELAY, _LONGEST_DELAY, _GROWTH = 0.002, 0.2, 1.5
_NEVER = 0.0


class HeldAlone(Exception):
    """Somebody has the name alone at this moment; the message says which, and what to do."""


class Held:
    """A lock that is held until `release`, or until the end of a `with` block."""

    def __init__(self, descriptor: int, *, is_use: bool = False) -> None:
        """Own the locked descriptor. With `is_use`, the time of its file says when it was used last."""
        self._descriptor: int | None = descriptor
        self._is_use = is_use
        self._touch(descriptor)

    def release(self) -> None:
        """Let others have it; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            self._touch(descriptor)
            # Not by closing alone: a process that is being started has a copy of it until it executes its program.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _touch(self, descriptor: int) -> None:
        if self._is_use:
            with contextlib.suppress(OSError):  # the time is a hint, the lock is what counts
                os.utime(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


class FileLock:
    """Holds a file for one at a time, of all tasks and processes: `async with FileLock(path)`. It may be used again."""

    def __init__(self, path: Path) -> None:
        """Lock the file at `path`, whose folder exists; it is made when it is needed, and stays."""
        self._path = path
        self._held: Held | None = None

    async def __aenter__(self) -> Self:
        self._held = Held(await _taken(self._path, fcntl.LOCK_EX))
        return self

    async def __aexit__(self, *ended: object) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def try_now(self) -> "Held | None":
        """Take it from now on, apart from any `async with`; None while somebody has it. Raises OSError."""
        descriptor = _take(self._path, fcntl.LOCK_EX)
        return None if descriptor is None else Held(descriptor)


class Holds:
    """Tells what is in use, by name: all who use it hold a file of that name together, in whatever process.

    Names are those of files; what they stand for is up to the caller, as is making sure that it holds before it looks.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`, which is for them alone and made if it is not there. Raises OSError."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def hold(self, name: str) -> Held:
        """Hold a name together with others who do, from now on.

        Raises `HeldAlone` at once where somebody has it alone (`holding` waits for that), and OSError.
        """
        descriptor = _take(self._path(name), fcntl.LOCK_SH)
        if descriptor is None:
            raise HeldAlone(f"{name!r} in {self._folder} is being taken away at this moment. Try again soon.")
        return Held(descriptor, is_use=True)

    @contextlib.asynccontextmanager
    async def holding(self, name: str) -> AsyncIterator[None]:
        """Hold a name together with others, as soon as nobody has it alone. Raises OSError."""
        with Held(await _taken(self._path(name), fcntl.LOCK_SH), is_use=True):
            yield

    def try_alone(self, name: str) -> Held | None:
        """Take a name alone, from now on; None while anybody holds it. It counts as no use. Raises OSError."""
        descriptor = _take(self._path(name), fcntl.LOCK_EX)
        return None if descriptor is None else Held(descriptor)

    def last_used(self, name: str) -> float:
        """Return when a name was held last, in seconds since 1970; 0.0 where it never was. Raises OSError."""
        try:
            return self._path(name).stat().st_mtime
        except FileNotFoundError:
            return _NEVER

    def prune(self, names_kept: Collection[str]) -> list[str]:
        """Forget all other names that nobody holds, with their time of use; return them. Raises OSError."""
        names = sorted(path.name for path in self._folder.iterdir() if path.name not in names_kept)
        return [name for name in names if _delete(self._folder / name)]

    def _path(self, name: str) -> Path:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be held in {self._folder}: give the name of a file, without a folder.")
        return self._folder / name


async def _taken(path: Path, how: int) -> int:
    """Return a descriptor of the file at `path` once it is locked; the loop goes on meanwhile."""
    delay = _FIRST_DELAY
    while (descriptor := _take(path, how)) is None:
        await asyncio.sleep(delay)
        delay = min(delay * _GROWTH, _LONGEST_DELAY)
    return descriptor


def _take(path: Path, how: int, *, create: bool = True) -> int | None:
    """Return a locked descriptor of the file that is at `path`, None where others hold it. Raises OSError."""
    while True:
        descriptor = _open(path, create=create)
        is_ours = False
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            is_ours = _is_at(descriptor, path)
        except BlockingIOError:
            return None
        except OSError as error:  # a file system without locks
            raise OSError(error.errno, f"{error.strerror}; locks need a local disk", str(path)) from error
        finally:
            if not is_ours:
                os.close(descriptor)
        if is_ours:
            return descriptor


def _open(path: Path, *, create: bool) -> int:
    while True:
        try:
            return os.open(path, _OPEN)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
            os.utime(descriptor, (_NEVER, _NEVER))  # to be made is no use
            return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the file was not deleted between our opening and locking it, and perhaps made anew."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _delete(path: Path) -> bool:
    """Delete a file that nobody holds. It is locked as it goes: who has opened it by then sees that, and retries."""
    with contextlib.suppress(OSError):
        descriptor = _take(path, fcntl.LOCK_EX, create=False)
        if descriptor is not None:
            with Held(descriptor):
                path.unlink()
                return True
    return False
