"""Files on the local disk: `disk.py` writes them, obstore lists, deletes and streams them."""

import asyncio
import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from os import stat_result
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import LocalStore

from runflow import errors
from runflow.master_key import MasterKey
from runflow.storage.disk import BLOCK_BYTES, LocalDisk, PartialFile
from runflow.storage.keys import InvalidKey, validate
from runflow.storage.signed_urls import DOWNLOAD, UPLOAD, UrlSigner
from runflow.storage.store import Space, Storage, StoredObject, not_found, once, too_large, wrong_size

if TYPE_CHECKING:
    from obstore import GetResult

log = structlog.get_logger()

MAX_PIECES = 4096
"""A sender of single bytes must not make us hold a million of them."""
THREADS = 16
REMEMBERED = 4096
"""Objects that this process brought to the disk; forgetting one only costs doing it again."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})

P = ParamSpec("P")
T = TypeVar("T")


class LocalStorage(Storage):
    """Keeps the installation's files below one folder, and serves them by this server's own signed URLs."""

    def __init__(self, directory: Path, key: MasterKey, *, reserve_bytes: int = 0) -> None:
        """Keep files below `directory`, which is made; sign URLs with a key derived from the master key.

        `reserve_bytes` of that disk stay free.
        """
        self._disk = LocalDisk(directory, reserve_bytes)
        self._objects = LocalStore(directory, automatic_cleanup=True)
        self._signer = UrlSigner.of(key)
        # Threads of its own: a slow disk must not hold up whatever else the process does in threads.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
        self._settling: OrderedDict[str, Future[stat_result]] = OrderedDict()

    @property
    def signer(self) -> UrlSigner:
        """Checks the signed URLs that this storage gave out."""
        return self._signer

    async def put(
        self,
        key: str,
        chunks: AsyncIterator[bytes] | bytes,
        *,
        limit: int,
        size_bytes: int | None = None,
        content_type: str | None = None,
        settle: bool = True,
        replace: bool = True,
    ) -> StoredObject:
        """Store the bytes under the key, replacing what was there, whole or not at all.

        Without `replace` what is there stays: the same bytes again are no error, for others `Conflict` is raised.
        Memory stays flat whatever the size. When it returns, the object survives a power cut; with `settle=False` that
        goes on in the background, and `head` waits for it. Raises `PayloadTooLarge` past `limit` bytes,
        `ValidationFailed` when `size_bytes` is given and the size is another one.
        """
        path = self._disk.path(key)
        partial = self._disk.begin()
        try:
            rest = await self._receive(partial, chunks, limit, size_bytes)
            await self._run(self._disk.finish if replace else self._finish_new, partial, rest, path)
        except asyncio.CancelledError:
            # A write may still be going on in its thread: the clean-up waits for it there, not here.
            self._threads.submit(partial.discard)
            raise
        except BaseException:
            await self._run(partial.discard)
            raise
        settling = self._begin_to_settle(key, path)
        if settle:
            await self._wait(settling)
        return StoredObject(key, partial.size, sha256=partial.sha256)

    @property
    def takes_content(self) -> bool:
        """Whether small files may come through this server: they end on its disk anyway."""
        return True

    async def keep(self, key: str, content: bytes, *, sha256: str) -> None:
        """Store small content under a new key; `head` waits until it is sure to survive a power cut.

        What is stored there already stays: the same content again is no error. Raises `ValidationFailed` for content of
        another hash than `sha256`, `Conflict` where other bytes have the key.
        """
        path = self._disk.path(key)
        await self._run(self._keep, path, content, sha256)
        self._begin_to_settle(key, path)

    def _keep(self, path: Path, content: bytes, sha256: str) -> None:
        partial = self._disk.begin()
        try:
            partial.write([content])
            if partial.sha256 != sha256:
                raise errors.ValidationFailed(
                    f"The content of {path.name!r} has the SHA-256 {partial.sha256}, not {sha256}. Send it again."
                )
            self._finish_new(partial, (), path)
        finally:
            partial.discard()

    def _finish_new(self, partial: PartialFile, rest: Iterable[bytes], path: Path) -> None:
        partial.write(rest)
        if not self._disk.finish_new(partial, path):
            with path.open("rb") as file:
                stored = hashlib.file_digest(file, "sha256").hexdigest()
            if stored != partial.sha256:
                raise errors.Conflict(f"Other bytes are stored as {path.name!r} of this attempt already; they stay.")
            partial.discard()

    async def head(self, key: str) -> StoredObject | None:
        """Return the object's size and ETag once it is sure to survive a power cut, or None when there is none.

        Ask before a record that names the object is committed.
        """
        try:
            path = self._disk.path(key)
            settling = self._settling.get(key)
            if settling is None:
                return _stored(key, await self._find(self._disk.settle, path))
            await self._wait(settling)
            return _stored(key, await self._find(path.stat))
        except (errors.NotFound, InvalidKey):
            return None

    async def stat(self, key: str) -> StoredObject | None:
        """Return what `head` does, without waiting for the disk: enough for whoever only wants to read."""
        try:
            return _stored(key, await self._find(self._disk.path(key).stat))
        except (errors.NotFound, InvalidKey):
            return None

    async def open(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to, not including, `end` (default: all). Raises `NotFound`."""
        path = self._disk.path(key)
        begin = start or 0
        if end is None:
            found = await self.stat(key)
            if found is None:
                raise not_found()
            end = found.size_bytes
        if end - begin <= BLOCK_BYTES:
            return once(await self._find(self._disk.read, path, begin, max(end - begin, 0)))
        try:
            result = await obstore.get_async(self._objects, key, options={"range": (begin, end)})
        except FileNotFoundError as error:
            raise not_found() from error
        except (OSError, ObstoreError) as error:
            raise self._trouble(error) from error
        return _pass_on(result)

    async def copy(self, source: str, target: str) -> None:
        """Store the object a second time, under the key `target`; on the local disk the bytes are shared until
        either is replaced. Raises `NotFound`.
        """
        await self._find(self._disk.copy, self._disk.path(source), self._disk.path(target))

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over."""
        for key in keys:
            self._settling.pop(key, None)
            try:
                await obstore.delete_async(self._objects, validate(key))
            except FileNotFoundError:
                continue
            except (OSError, ObstoreError) as error:
                raise self._trouble(error) from error

    async def list(self, prefix: str, *, before: datetime | None = None) -> AsyncIterator[str]:
        """Go through the key of every object below a prefix of whole segments, e.g. `runs/0197…/`, in no order.

        With `before`, only of those that were stored before that time.
        """
        async for batch in obstore.list(self._objects, validate(prefix.rstrip("/"))):
            for found in batch:
                if before is None or found["last_modified"] < before:
                    yield found["path"]

    async def examine(self, key: str, look: Callable[[BinaryIO], T]) -> T:
        """Open an object as a blocking, seekable file, give it to `look` in a thread, return what that returns.

        Raises `NotFound`.
        """

        def opened() -> T:
            with self._disk.open(self._disk.path(key)) as file:
                return look(file)

        return await self._find(opened)

    async def ready(self) -> None:
        """Raise `Unavailable` when nothing can be stored right now (the readiness probe)."""
        await self._run(self._disk.probe)

    async def space(self) -> Space:
        """Return how much of the disk is left; the reserve counts as taken."""
        return await self._run(self._disk.space)

    async def sweep_abandoned(self) -> int:
        """Remove what processes that were killed left in `.incoming`."""
        return await self._run(self._disk.sweep_abandoned)

    def upload_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> str:
        """Return a URL to PUT this object to, for `seconds`: of this type, and of this size where it is known."""
        size = None if size_bytes is None else str(size_bytes)
        return self._signer.sign(
            base, UPLOAD, key, {"type": content_type, "size": size, "limit": str(max_bytes)}, seconds
        )

    def new_object_url(
        self, base: str, key: str, *, content_type: str, size_bytes: int | None, max_bytes: int, seconds: int
    ) -> tuple[str, dict[str, str]]:
        """Return a URL as `upload_url` does that never replaces an object, and the headers to send with the PUT."""
        size = None if size_bytes is None else str(size_bytes)
        declared = {"type": content_type, "size": size, "limit": str(max_bytes), "once": "1"}
        return self._signer.sign(base, UPLOAD, key, declared, seconds), {"Content-Type": content_type}

    def download_url(self, base: str, key: str, *, filename: str | None, content_type: str | None, seconds: int) -> str:
        """Return a URL to GET this object from, for `seconds`, under this name and type."""
        return self._signer.sign(base, DOWNLOAD, key, {"filename": filename, "type": content_type}, seconds)

    async def _receive(
        self, partial: PartialFile, chunks: AsyncIterator[bytes] | bytes, limit: int, size_bytes: int | None
    ) -> Sequence[bytes]:
        """Write what comes in, a block at a time, stop as soon as it is too much, and return the last block."""
        most = limit if size_bytes is None else min(limit, size_bytes)
        waiting: list[bytes] = []
        held = total = 0
        async for chunk in once(chunks) if isinstance(chunks, bytes) else chunks:
            total += len(chunk)
            if total > most:
                raise too_large(most)
            waiting.append(chunk)
            held += len(chunk)
            if held >= BLOCK_BYTES or len(waiting) >= MAX_PIECES:
                await self._run(partial.write, waiting)
                waiting, held = [], 0
        if size_bytes is not None and total != size_bytes:
            raise wrong_size(total, size_bytes)
        return waiting

    def _begin_to_settle(self, key: str, path: Path) -> "Future[stat_result]":
        """Start to bring an object to the disk; remembered for a while, so that `head` need not do it again."""
        settling = self._threads.submit(self._disk.settle, path)
        settling.add_done_callback(_log_failure)
        self._settling[key] = settling
        self._settling.move_to_end(key)
        if len(self._settling) > REMEMBERED:
            self._settling.popitem(last=False)
        return settling

    async def _wait(self, settling: "Future[stat_result]") -> None:
        try:
            await asyncio.shield(asyncio.wrap_future(settling))
        except FileNotFoundError as error:
            raise not_found() from error
        except OSError as error:
            raise self._trouble(error) from error

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking work in one of our threads; the system's errors become those of docs/api.md, "Errors"."""
        try:
            return await self._in_thread(work, *args, **kwargs)
        except OSError as error:
            raise self._trouble(error) from error

    async def _find(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same with an object that may be absent. Raises `NotFound`."""
        try:
            return await self._in_thread(work, *args, **kwargs)
        except OSError as error:
            if _is_absence(error):
                raise not_found() from error
            raise self._trouble(error) from error

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _trouble(self, error: OSError | ObstoreError) -> errors.RunflowError:
        code = error.errno if isinstance(error, OSError) else None
        log.error("storage failed", folder=str(self._disk.root), error=str(error))
        if code in _FULL:
            return errors.Unavailable(
                "The server's storage is full, so nothing was stored. The operator has to free space on the disk of "
                "the storage folder (below RUNFLOW_HOME), of which RUNFLOW_STORAGE_RESERVE_BYTES stay free. Then send "
                "it again.",
                headers={"Retry-After": "30"},
            )
        reason = os.strerror(code) if code else "input/output error"
        return errors.Unavailable(
            f"The server's storage failed ({reason}). The operator has to look at the storage folder (below "
            "RUNFLOW_HOME); then try again.",
            headers={"Retry-After": "30"},
        )


def _is_absence(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError) or error.errno in _ABSENT


def _log_failure(settling: "Future[stat_result]") -> None:
    # Nobody may ever ask for this object again, and then this line is all that the operator sees.
    error = settling.exception()
    if isinstance(error, OSError) and not _is_absence(error):
        log.error("a stored file could not be brought to the disk and was removed", error=str(error))


def _stored(key: str, found: stat_result) -> StoredObject | None:
    if not S_ISREG(found.st_mode):
        return None
    return StoredObject(
        key,
        found.st_size,
        etag=f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
        modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
    )


async def _pass_on(result: "GetResult") -> AsyncIterator[bytes]:
    async for chunk in result.stream(min_chunk_size=BLOCK_BYTES):
        yield bytes(chunk)
