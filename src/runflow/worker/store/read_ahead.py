"""Bringing model files into the page cache by reading them in parallel, before an engine reads them one page at a time.

A disk that is fast with many requests is slow with one: an engine that loads a cold model waits for each in turn.
"""

import asyncio
import contextlib
import ctypes
import mmap
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import structlog

log = structlog.get_logger()

SMALLEST_BYTES = 64 * 2**20
"""Smaller files are not worth it: an engine has read them before anybody waits."""
WARM_SHARE = 0.9
"""A file of which so much is in memory is left alone."""
MEMORY_SHARE = 0.5
"""So much of the available memory is filled at most: the current run needs the rest, and cached files of its own."""

_READERS = 8
_PIECE_BYTES = 8 * 2**20
# Neither a link nor a pipe that took a model's place is followed or waited for.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


async def read_ahead(paths: Iterable[Path], *, most_bytes: int | None = None) -> int:
    """Read these files in their order, as far as they are large and cold, and memory is there; return how many bytes.

    Paths that are links are not read: give what they lead to. At most `most_bytes` are read, and at most half of the
    memory that is available. A file that cannot be read is logged. Cancelled, it ends within one piece of each reader.
    """
    room = int(psutil.virtual_memory().available * MEMORY_SHARE)
    stop = threading.Event()
    work = asyncio.ensure_future(
        asyncio.to_thread(_read_files, list(paths), room if most_bytes is None else min(room, most_bytes), stop)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([work])
        raise


def resident_share(path: Path) -> float:
    """Return how much of a file is in memory, from 0.0 to 1.0; an empty one is whole. Raises OSError.

    It is 0.0 where it cannot be told: Linux tells it to nobody but the file's owner, those who may write to it and
    root, and other systems may lack the call. To read a file that is warm costs little, to leave a cold one costs more.
    """
    with _opened(path) as (descriptor, state):
        return _resident_share(path, descriptor, state.st_size)


def _read_files(paths: list[Path], room: int, stop: threading.Event) -> int:
    total = 0
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read-ahead") as pool:
        for path in paths:
            if stop.is_set() or total >= room:
                break
            try:
                total += _read_file(path, room - total, stop, pool)
            except OSError as error:
                log.warning(
                    "A model is not read ahead, so its run may wait for the disk. See whether the file can be read.",
                    path=str(path),
                    reason=error.strerror or str(error),
                )
    return total


def _read_file(path: Path, room: int, stop: threading.Event, pool: ThreadPoolExecutor) -> int:
    with _opened(path) as (descriptor, state):
        if state.st_size < SMALLEST_BYTES or _resident_share(path, descriptor, state.st_size) >= WARM_SHARE:
            return 0
        end = min(state.st_size, room)
        offsets = iter(range(0, end, _PIECE_BYTES))  # shared: the next piece is for whoever is free
        readers = [pool.submit(_read_pieces, descriptor, offsets, end, stop) for _ in range(_READERS)]
        # All have ended before the descriptor is closed, or the first error is raised.
        errors = [error for reader in readers if (error := reader.exception()) is not None]
        if errors:
            raise errors[0]
        return sum(reader.result() for reader in readers)


def _read_pieces(descriptor: int, offsets: Iterator[int], end: int, stop: threading.Event) -> int:
    buffer = memoryview(bytearray(_PIECE_BYTES))  # what is read is of no interest, and overwritten
    total = 0
    for offset in offsets:
        if stop.is_set():
            break
        total += os.preadv(descriptor, [buffer[: min(_PIECE_BYTES, end - offset)]], offset)
    return total


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    descriptor = os.open(path, _OPEN)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(f"{path} is no plain file")
        yield descriptor, state
    finally:
        os.close(descriptor)


_WINDOW_BYTES = 2**30
_LOWEST_BIT = bytes(value & 1 for value in range(256))
"""Of what `mincore` says of a page, this bit alone has a meaning."""
_NO_MAPPING = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_longlong,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def _resident_share(path: Path, descriptor: int, size: int) -> float:
    if size == 0:
        return 1.0
    if not (os.geteuid() in (0, os.fstat(descriptor).st_uid) or os.access(path, os.W_OK)):
        return 0.0  # Linux would say of every page that it is there
    windows = range(0, size, _WINDOW_BYTES)
    try:
        resident = sum(_resident_pages(descriptor, start, min(_WINDOW_BYTES, size - start)) for start in windows)
    except OSError:
        return 0.0
    return resident / _pages(size)


def _resident_pages(descriptor: int, start: int, size: int) -> int:
    # Not by Python's mmap: it has no address for a mapping that nobody may write to.
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, start)
    if address == _NO_MAPPING:
        raise OSError(ctypes.get_errno(), "mmap failed")
    try:
        pages = ctypes.create_string_buffer(_pages(size))
        if _libc.mincore(address, size, pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore failed")
        return pages.raw.translate(_LOWEST_BIT).count(1)
    finally:
        _libc.munmap(address, size)


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE)
