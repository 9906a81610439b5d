"""Disk work in an event loop: at once where a thread would cost more than the work itself, else in a thread."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

INLINE_BYTES = 1024 * 1024
"""Up to here reading, writing and hashing is done at once (1 ms); disks stall, so anything larger must not be."""

T = TypeVar("T")


async def on_disk(size_bytes: int, work: Callable[[], T]) -> T:
    """Do `work` on a file of this size."""
    return work() if size_bytes <= INLINE_BYTES else await asyncio.to_thread(work)


def size_of(path: Path) -> int:
    """Return the size of a file in bytes. Raises OSError."""
    return path.stat().st_size


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[None]:
    """Delete the file at `path` if the block that writes it fails or is cancelled."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
