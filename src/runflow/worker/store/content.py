"""Models by SHA-256: one store for all workers of a machine.

A content is whole or not there. Who uses one holds it, and what is held is never removed; a process that dies holds
nothing any more. What nobody has used for longest goes first, when there is a limit or the disk is full.
"""

import asyncio
import contextlib
import errno
import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import orjson
import structlog

from runflow.worker.runtime.record import write_atomically
from runflow.worker.store.fetch.blocks import forget, in_thread
from runflow.worker.store.fetch.ranges import Source, SourceFailed, download
from runflow.worker.store.locks import FileLock, HeldAlone, Holds

log = structlog.get_logger()

RESERVE_BYTES = 1024**3
"""So much of the disk stays free for everything else."""
STALE_SECONDS = 7 * 24 * 3600
"""A download that nobody goes on with for so long is forgotten."""
_REMOVED_SECONDS = 0.01
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WrongContent(SourceFailed):
    """A source has another file than was promised."""


class StoreFull(OSError):
    """There is no room for a model, and nothing that could make some."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a content's file since it was read. Times in nanoseconds."""

    inode: int
    size_bytes: int
    written_at: int
    is_public: bool = False
    """Somebody got it from an address, so whoever knows its hash may have it; else only whose upload it is."""

    def fit(self, state: os.stat_result) -> bool:
        """Tell whether the file is the one that was read."""
        return (self.inode, self.size_bytes, self.written_at) == (state.st_ino, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Content:
    """A model in the store. `used_at`: when a run last needed it, in seconds since the epoch."""

    sha256: str
    size_bytes: int
    used_at: float
    is_public: bool


class Held:
    """A content that is in use, and stays until it is released."""

    def __init__(self, path: Path, sha256: str, hold: contextlib.ExitStack | None = None) -> None:
        self.path = path
        self.sha256 = sha256
        self._hold = hold

    def release(self) -> None:
        """Need it no more."""
        if self._hold is not None:
            self._hold.close()


class ContentStore:
    """The store in `folder`, made when it is needed, which several processes may share.

    `limit_bytes`: most that it keeps, 0: as much as the disk holds. `is_safe` says that no engine can write to what it
    finds among its models; where one may, a content is read again each time before it is used.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 0, is_safe: Callable[[], bool] = lambda: True) -> None:
        self.folder = folder
        self._limit = limit_bytes
        self._is_safe = is_safe
        self._holds = Holds(folder / "uses")
        self.on_remove: Callable[[str], None] = lambda _: None
        """Called with the hash of a content that goes: engines that were given it, and do not use it, lose it too."""

    async def take(self, sha256: str, *, public: bool = False) -> Held | None:
        """Return a content that is there and whole, held; None where it is not.

        With `public` only one that somebody got from an address. Raises OSError.
        """
        held = self._hold(sha256)
        if held is None:
            return None
        try:
            facts = self._known(sha256) or await asyncio.to_thread(self._read, sha256)
        except BaseException:
            held.release()
            raise
        if facts is not None and (facts.is_public or not public):
            return held
        held.release()
        return None

    async def fetch(
        self,
        source: Source,
        *,
        sha256: str | None,
        name: str,
        size_bytes: int | None,
        most_bytes: int,
        patience: float,
        public: bool,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Held:
        """Return what a source has, held: fetched, checked and kept, unless another process has just done so.

        `name` names the download, which goes on where an earlier one under that name ended. `sha256` None: whatever
        comes. Raises `SourceFailed`, and OSError where it cannot be kept.
        """
        await asyncio.to_thread(self._make_folders)
        part = self.folder / "downloads" / name
        async with FileLock(part.with_suffix(".lock")):
            if sha256 is not None and (held := await self.take(sha256, public=public)) is not None:
                return held
            await download(
                source,
                part,
                size_bytes=size_bytes,
                most_bytes=most_bytes,
                patience=patience,
                progress=progress,
                room=lambda total: asyncio.to_thread(self._make_room, total, _written(part)),
            )
            found = await in_thread(partial(_hash, part))
            if sha256 is not None and found != sha256:
                forget(part)
                raise WrongContent(
                    f"What {source.what} has is another file: its SHA-256 is {found[:10]}…, not {sha256[:10]}….",
                    retryable=False,
                )
            return await in_thread(partial(self._keep, part, found, public=public))

    async def adopt(self, file: Path, sha256: str) -> Held:
        """Return a file of the operator's as a content of the store, held: a copy, which nobody else may change.

        Raises OSError, `SourceFailed` where it has another content by now.
        """
        await asyncio.to_thread(self._make_folders)
        part = self.folder / "downloads" / f"own-{sha256}"
        async with FileLock(part.with_suffix(".lock")):
            if (held := await self.take(sha256)) is not None:
                return held
            return await in_thread(partial(self._copy, file, part, sha256))

    def _copy(self, file: Path, part: Path, sha256: str) -> Held:
        self._make_room(file.stat().st_size)
        shutil.copyfile(file, part)
        if _hash(part) != sha256:
            part.unlink()
            raise SourceFailed("A file of the worker's has changed meanwhile.", retryable=True)
        return self._keep(part, sha256, public=True)

    def _hold(self, sha256: str) -> Held | None:
        path, hold = self._path(sha256), contextlib.ExitStack()
        if not path.is_file():
            return None
        try:
            hold.enter_context(self._holds.hold(sha256))
        except HeldAlone:
            return None  # it is being removed
        return Held(path, sha256, hold)

    def _keep(self, part: Path, sha256: str, *, public: bool) -> Held:
        """Make a whole file a content, held."""
        path, hold = self._path(sha256), contextlib.ExitStack()
        hold.enter_context(self._hold_soon(sha256))
        try:
            there = self._read(sha256)
            if there is None:
                part.chmod(0o644)  # the engine may run as another user
                _on_disk(part)
                self._write_facts(sha256, _facts(part, is_public=public))
                part.replace(path)
            elif public and not there.is_public:
                self._write_facts(sha256, replace(there, is_public=True))
            forget(part)
        except BaseException:
            hold.close()
            raise
        return Held(path, sha256, hold)

    def _hold_soon(self, sha256: str) -> contextlib.AbstractContextManager[object]:
        """Hold a content, once nobody removes an earlier one."""
        while True:
            try:
                return self._holds.hold(sha256)
            except HeldAlone:
                time.sleep(_REMOVED_SECONDS)

    def _known(self, sha256: str) -> _Facts | None:
        """Return what is known of a content's file, as long as nobody can have written to it."""
        facts = self._facts_on_disk(sha256) if self._is_safe() else None
        try:
            return facts if facts is not None and facts.fit(self._path(sha256).stat()) else None
        except FileNotFoundError:
            return None

    def _read(self, sha256: str) -> _Facts | None:
        """Return what is known of a content's file, read if need be; one that is another content is removed."""
        path, facts = self._path(sha256), self._known(sha256)
        if facts is not None or not path.is_file():
            return facts
        if _hash(path) != sha256:
            path.unlink(missing_ok=True)  # something wrote to it through a link
            return None
        before = self._facts_on_disk(sha256)
        facts = _facts(path, is_public=before is not None and before.is_public)
        if facts != before:
            self._write_facts(sha256, facts)
        return facts

    def contents(self) -> list[Content]:
        """Return what the store has, what was used longest ago first."""
        found = []
        for path in self._models():
            with contextlib.suppress(OSError):
                facts = self._facts_on_disk(path.name)
                is_public = facts is not None and facts.is_public
                size = path.stat().st_size
                found.append(Content(path.name, size, self._holds.last_used(path.name), is_public))
        return sorted(found, key=lambda content: content.used_at)

    def remove(self, sha256: str) -> bool:
        """Remove a content that nobody uses; tell whether it is gone."""
        alone = self._holds.try_alone(sha256)
        if alone is None:
            return False
        with alone:
            self.on_remove(sha256)
            self._path(sha256).unlink(missing_ok=True)
            self._facts_path(sha256).unlink(missing_ok=True)
            return True

    def _make_room(self, size_bytes: int, written_bytes: int = 0) -> None:
        """See that a file of this size may be kept, so much of which is written already. Raises `StoreFull`."""
        self._forget_stale()
        if self._lacks(size_bytes, written_bytes) > 0:
            self._forget_parts(math.inf)
        lacking = self._lacks(size_bytes, written_bytes)
        unused = [one for one in self.contents() if not self._is_used(one.sha256)] if lacking > 0 else []
        # Where everything that could go would not do, nothing goes.
        if lacking <= sum(content.size_bytes for content in unused):
            for content in unused:
                if self._lacks(size_bytes, written_bytes) <= 0:
                    return
                if self.remove(content.sha256):
                    log.info("The store gave up a model.", sha256=content.sha256, size_bytes=content.size_bytes)
        lacking = self._lacks(size_bytes, written_bytes)
        if lacking > 0:
            raise StoreFull(
                errno.ENOSPC,
                f"The worker's model store lacks {lacking} bytes for a file of {size_bytes}, beside what runs use now "
                "(free space on its disk, or raise RUNFLOW_STORE_BYTES)",
                str(self.folder),
            )

    def _lacks(self, size_bytes: int, written_bytes: int) -> int:
        lacking = size_bytes - written_bytes + RESERVE_BYTES - shutil.disk_usage(self.folder).free
        if self._limit:
            used = sum(content.size_bytes for content in self.contents())
            others = sum(_written(part) for part in self._parts()) - written_bytes
            lacking = max(lacking, used + others + size_bytes - self._limit)
        return lacking

    def _is_used(self, sha256: str) -> bool:
        alone = self._holds.try_alone(sha256)
        if alone is not None:
            alone.release()
        return alone is None

    def _forget_parts(self, written_before: float) -> None:
        """Remove downloads that nobody goes on with now, if nobody has since that time."""
        for part in self._parts():
            with contextlib.suppress(OSError):
                alone = FileLock(part.with_suffix(".lock")).try_now()
                if alone is not None:
                    with alone:
                        if part.stat().st_mtime < written_before:
                            forget(part)

    def _parts(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [one for one in (self.folder / "downloads").iterdir() if one.suffix not in (".lock", ".blocks")]
        return []

    def _forget_stale(self) -> None:
        """Forget downloads that were begun long ago, and what is known of contents that are gone."""
        self._holds.prune([path.name for path in self._models()])
        self._forget_parts(time.time() - STALE_SECONDS)

    def _models(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from (path for path in (self.folder / "models").iterdir() if _SHA256.fullmatch(path.name))

    def _make_folders(self) -> None:
        for name in ("models", "facts", "downloads", "uses"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256.")
        return self.folder / "models" / sha256

    def _facts_path(self, sha256: str) -> Path:
        return self.folder / "facts" / f"{sha256}.json"

    def _facts_on_disk(self, sha256: str) -> _Facts | None:
        try:
            return _Facts(**orjson.loads(self._facts_path(sha256).read_bytes()))
        except (OSError, TypeError, ValueError):
            return None

    def _write_facts(self, sha256: str, facts: _Facts) -> None:
        write_atomically(self._facts_path(sha256), orjson.dumps(asdict(facts)))


def _facts(path: Path, *, is_public: bool) -> _Facts:
    state = path.stat()
    return _Facts(state.st_ino, state.st_size, state.st_mtime_ns, is_public)


def _written(part: Path) -> int:
    """Return how much of the disk a file has that grows with gaps."""
    try:
        return part.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _on_disk(path: Path) -> None:
    """Have a file's bytes on the disk before anything says that they are there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
