"""Fetching files behind the server's signed URLs, checked by size and SHA-256, while the disk has room."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from runflow.worker.attempts.lease import RemoteFile
from runflow.worker.server_api.connection import Connection, ServerRefused, ServerUnavailable
from runflow.worker.server_api.retry import until_answered

_CHUNK_BYTES = 1024 * 1024


class DownloadFailed(Exception):
    """The file could not be had, or is not the one that was promised; the message says which, without the URL."""


async def download(connection: Connection, file: RemoteFile, destination: Path, *, patience: float) -> str:
    """Write the file to `destination`, whose folder exists; return its SHA-256. Nothing stays behind on failure.

    A server that is away is waited for, `patience` seconds at most. Raises `DownloadFailed`, and OSError where the file
    cannot be written.
    """

    async def once() -> str:
        return await _download(connection, file, destination)

    try:
        return await until_answered(once, what="download", seconds=patience)
    except ServerUnavailable as trouble:
        raise DownloadFailed(f"{trouble}.") from trouble
    except ServerRefused as refusal:
        raise DownloadFailed(f"Storage refused it with HTTP status {refusal.status} {refusal.code}.") from refusal


async def _download(connection: Connection, file: RemoteFile, destination: Path) -> str:
    digest = hashlib.sha256()
    size = 0

    def keep(target: BinaryIO, data: bytes) -> None:
        target.write(data)
        digest.update(data)

    with whole_or_nothing(destination):
        async with connection.get(file.url) as response:
            with destination.open("wb") as target:
                async for data in response.content.iter_chunked(_CHUNK_BYTES):
                    size += len(data)
                    if size > file.size_bytes:
                        break
                    await on_disk(file.size_bytes, partial(keep, target, data))
        if size != file.size_bytes:
            more = " or more" if size > file.size_bytes else ""
            raise DownloadFailed(f"It has {size} bytes{more}, not the {file.size_bytes} that were uploaded.")
        found = digest.hexdigest()
        if file.sha256 is not None and found != file.sha256:
            raise DownloadFailed("Its SHA-256 is not the one of the upload.")
    return found


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
