"""A growing file and its journal: which blocks of it are whole, in whatever moment its process was killed.

The journal is replaced as a whole by a rename, and a block is noted only when its bytes are on the disk. So a journal
that can be read never says too much; what it does not say is fetched again.
"""

import asyncio
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

T = TypeVar("T")

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Block(NamedTuple):
    """A stretch of the file; `end` is exclusive."""

    start: int
    end: int


class Journal:
    """Tells which blocks of one state of a file are whole. The file beside the part says the same, once it is saved."""

    def __init__(self, part: Path, total_bytes: int, block_bytes: int, validator: str | None, whole: int = 0) -> None:
        """Begin with the blocks that are set in `whole`, a number whose lowest bit is the first block."""
        self._path = journal_of(part)
        self.total_bytes = total_bytes
        self.validator = validator
        self._block_bytes = block_bytes
        self._whole = whole

    @classmethod
    def load(cls, part: Path) -> Self | None:
        """Return what was saved beside `part`; None where it is damaged, or `part` is not the file that it is about."""
        try:
            checksum, _, text = journal_of(part).read_text(encoding="utf-8").partition(" ")
            if int(checksum, 16) != zlib.crc32(text.encode()):
                return None
            total_bytes, block_bytes, validator, whole = json.loads(text)
            if part.stat(follow_symlinks=False).st_size != total_bytes:
                return None
            return cls(part, total_bytes, block_bytes, validator, int(whole, 16))
        except (OSError, ValueError, TypeError):
            return None

    def missing(self) -> list[Block]:
        """Return the blocks that are not whole, in their order."""
        starts = range(0, self.total_bytes, self._block_bytes)
        return [
            Block(start, min(start + self._block_bytes, self.total_bytes))
            for number, start in enumerate(starts)
            if not self._whole >> number & 1
        ]

    def note(self, block: Block) -> None:
        """Save that a block is whole; its bytes are on the disk by now. Raises OSError."""
        self._whole |= 1 << block.start // self._block_bytes
        self.save()

    def note_all(self) -> None:
        """Save that every block is whole. Raises OSError."""
        self._whole = (1 << -(-self.total_bytes // self._block_bytes)) - 1
        self.save()

    def save(self) -> None:
        """Replace the journal's file: after a power cut it says what it said before, or this. Raises OSError."""
        text = json.dumps([self.total_bytes, self._block_bytes, self.validator, f"{self._whole:x}"])
        fresh = _fresh(self._path)
        with fresh.open("w", encoding="utf-8") as file:
            file.write(f"{zlib.crc32(text.encode()):08x} {text}")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


class PartFile:
    """Writes the growing file. Its methods may wait for the disk: call them by `in_thread`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def resume(self) -> None:
        """Open the file as an earlier attempt has left it. Raises OSError."""
        self.close()
        self._descriptor = os.open(self._path, _FLAGS)

    def begin(self, total_bytes: int) -> None:
        """Make an empty file of that size, which takes no room yet, in place of what is there. Raises OSError."""
        self.close()
        forget(self._path)
        self._descriptor = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._descriptor, total_bytes)

    def write(self, data: bytearray, offset: int) -> None:
        """Write all of `data` at `offset`. Raises OSError."""
        with memoryview(data) as left:
            while left:
                written = os.pwrite(self._descriptor, left, offset)
                left, offset = left[written:], offset + written

    def sync(self) -> None:
        """Bring what was written to the disk. Raises OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, if it is open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def journal_of(part: Path) -> Path:
    """Return where the journal of a growing file lies."""
    return part.with_name(f"{part.name}.blocks")


def forget(part: Path) -> None:
    """Remove a growing file and its journal; after its rename, the journal alone. Raises OSError."""
    journal = journal_of(part)
    # A journal without its file means nothing; a file without its journal is begun anew.
    for path in (journal, _fresh(journal), part):
        path.unlink(missing_ok=True)


async def in_thread(work: Callable[[], T]) -> T:
    """Do `work` beside the event loop. A cancellation is raised only after its end: it uses an open descriptor."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # asked for, or the loop logs it
        raise cancelled
    return task.result()


def _fresh(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.new")
