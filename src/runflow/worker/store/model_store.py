"""Models by SHA-256 in one folder of the worker: fetched once, resumed where the last attempt ended, checked."""

import asyncio
from collections import defaultdict
from functools import partial
from pathlib import Path

from runflow.worker.connection import Connection, ServerRefused, ServerUnavailable
from runflow.worker.lease import RemoteFile
from runflow.worker.retry import until_answered
from runflow.worker.store.download import DownloadFailed
from runflow.worker.store.verified import VerifiedFiles

_UNFINISHED = ".part"
_CHUNK_BYTES = 1024 * 1024


class ModelStore:
    """Files named by their hash. None is given up by itself: the engine's own folder holds links to the same bytes."""

    def __init__(self, folder: Path, verified: VerifiedFiles | None = None) -> None:
        """Keep them in `folder`, made when it is needed. `verified` remembers which have been read."""
        self._folder = folder
        self.verified = verified or VerifiedFiles()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch(self, connection: Connection, file: RemoteFile, *, patience: float) -> Path:
        """Return where the file is, its hash checked; fetch what is missing of it first.

        A server that is away is waited for, `patience` seconds at most since the last byte. Raises `DownloadFailed`,
        and OSError where it cannot be stored.
        """
        sha256 = file.sha256
        if sha256 is None or len(sha256) != 64 or not sha256.isalnum():
            raise DownloadFailed("The server named no SHA-256.")
        async with self._locks[sha256]:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = self._folder / sha256
            if kept.is_file():
                found = self.verified.recall(kept) or await asyncio.to_thread(self.verified.read, kept)
                if found == sha256:
                    return kept
                kept.unlink()  # something wrote to it through a link
            part = kept.with_suffix(_UNFINISHED)
            await self._complete(connection, file, part, patience)
            if await asyncio.to_thread(self.verified.read, part) != sha256:
                part.unlink()
                raise DownloadFailed("Its SHA-256 is not the one of the upload.")
            with part.open("rb") as whole, self.verified.names_change(whole.fileno()):
                part.chmod(0o644)  # the engine may run as another user
                part.replace(kept)
            return kept

    async def _complete(self, connection: Connection, file: RemoteFile, part: Path, patience: float) -> None:
        while True:
            before = _size(part)
            try:
                once = partial(_go_on, connection, file, part)
                await until_answered(once, what="download of a model", seconds=patience)
            except ServerUnavailable as trouble:
                if _size(part) <= before:
                    raise DownloadFailed(f"{trouble}.") from trouble
            except ServerRefused as refusal:
                message = f"Storage refused it with HTTP status {refusal.status} {refusal.code}."
                raise DownloadFailed(message) from refusal
            except OSError:
                _forget(part)  # the disk is full: half a model is of no use to anybody
                raise
            else:
                return


async def _go_on(connection: Connection, file: RemoteFile, part: Path) -> None:
    """Append what is missing to `part`. Raises `DownloadFailed` for another size than promised."""
    have = _size(part)
    if have > file.size_bytes:
        _forget(part)
        have = 0
    if have == file.size_bytes:
        return
    async with connection.get(file.url, offset=have) as response:
        begins_anew = response.status != 206
        size = 0 if begins_anew else have
        with part.open("wb" if begins_anew else "ab") as target:
            async for data in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(data)
                if size > file.size_bytes:
                    break
                await asyncio.to_thread(target.write, data)
    if size != file.size_bytes:
        _forget(part)
        raise DownloadFailed(f"It has {size} bytes or more, not the {file.size_bytes} that were uploaded.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
