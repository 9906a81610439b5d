"""Where the bytes of a model lie while they come in, and how they become one file.

A chunk is an object of its own, named by where it begins: storage has nothing to append to (a bucket cannot), a chunk
that comes twice replaces itself, and one that breaks off leaves nothing.
"""

import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from runflow import errors
from runflow.storage.store import Storage

CHUNK_BYTES = 16 * 1024 * 1024
"""Every chunk but the last has this size, so that where one begins says what it is."""
STALE_SECONDS = 7 * 24 * 3600
"""An upload that nobody goes on with for so long is forgotten."""
UPLOADS = "model-uploads"
MODELS = "models"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a file, from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


def read_chunk(content_range: str | None, size_bytes: int) -> Chunk:
    """Return the chunk that a `Content-Range` names, of a file of `size_bytes`.

    Raises `BadRequest` where it is no such header, `ValidationFailed` where it is not one of the file's chunks.
    """
    match = _CONTENT_RANGE.fullmatch((content_range or "").strip())
    if match is None:
        raise errors.BadRequest(
            "Say which bytes these are with `Content-Range: bytes FIRST-LAST/TOTAL`, e.g. `bytes 0-16777215/50000000`."
        )
    first, last, total = (int(number) for number in match.groups())
    if total != size_bytes:
        raise _not_a_chunk(f"The model was declared with {size_bytes} bytes; this chunk says {total}.")
    end = min(first + CHUNK_BYTES, size_bytes)
    if first % CHUNK_BYTES or first >= size_bytes or last + 1 != end:
        raise _not_a_chunk(
            f"A chunk begins at a multiple of {CHUNK_BYTES} bytes and has that size, the last one the rest; this is "
            f"{first}-{last} of {size_bytes}."
        )
    return Chunk(first, end)


def parts_prefix(upload_id: UUID) -> str:
    """Return below which key the chunks of a session lie."""
    return f"{UPLOADS}/{upload_id}"


def part_key(upload_id: UUID, start: int) -> str:
    """Return the key of the chunk that begins at `start`."""
    return f"{parts_prefix(upload_id)}/{start:018d}"


def whole_prefix(org_id: UUID, sha256: str, upload_id: UUID) -> str:
    """Return below which key a session puts its model together."""
    return f"{MODELS}/{org_id}/{sha256}/{upload_id}"


def whole_key(org_id: UUID, sha256: str, upload_id: UUID) -> str:
    """Return a new key for the whole model; two confirmations at the same time do not meet."""
    return f"{whole_prefix(org_id, sha256, upload_id)}/{secrets.token_hex(4)}"


class PartMissing(Exception):
    """A chunk that was noted as received is not in storage."""

    def __init__(self, start: int) -> None:
        self.start = start
        super().__init__(f"the chunk at {start} is missing")


async def whole(storage: Storage, upload_id: UUID, size_bytes: int) -> AsyncIterator[bytes]:
    """Go through the bytes of all chunks in order. Raises `PartMissing`."""
    for start in range(0, size_bytes, CHUNK_BYTES):
        try:
            content = await storage.open(part_key(upload_id, start))
        except errors.NotFound:
            raise PartMissing(start) from None
        async for piece in content:
            yield piece


def _not_a_chunk(message: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(
        message, errors=[{"loc": ["header", "Content-Range"], "msg": message, "type": "chunk"}]
    )
