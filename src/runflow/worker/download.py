"""Fetching files behind the server's signed URLs, checked by size and SHA-256."""

import hashlib
from functools import partial
from pathlib import Path
from typing import BinaryIO

from runflow.worker.connection import Connection, ServerRefused, ServerUnavailable
from runflow.worker.disk import on_disk, whole_or_nothing
from runflow.worker.lease import RemoteFile
from runflow.worker.retry import until_answered

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
