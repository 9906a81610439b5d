"""One file from one source, in parallel ranges, resumed where any earlier attempt of any process ended.

The first request asks for the first missing block. Where its answer is a part of a file of known size, the other blocks
follow, several at a time. A source that knows no ranges answers with the whole file, which is then taken as it comes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from runflow.worker.server_api.retry import Backoff
from runflow.worker.store.fetch.blocks import Block, Journal, PartFile, forget, in_thread

log = structlog.get_logger()

BLOCK_BYTES = 16 * 1024 * 1024
"""What a killed worker loses at most, for each block that was under way."""
_WRITE_BYTES = 512 * 1024
"""With one more chunk of a source, less than 1 MiB waits to be written for each block under way."""


class SourceFailed(Exception):
    """A source does not give the file. The message is a sentence; `retryable`: the same may work later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Body:
    """The open answer of a source.

    `start` is the offset of its first byte, `total_bytes` the size of the whole file, if told. `validator` is a strong
    ETag, else the time of the last change. `is_part`: the source knows ranges, and this is one; otherwise it is the
    whole file, from 0.
    """

    start: int
    total_bytes: int | None
    validator: str | None
    chunks: AsyncIterator[bytes]
    is_part: bool


class Source(Protocol):
    """Where a file can be had. `what` names it in messages, without any secret."""

    what: str

    def open(self, start: int, end: int | None, validator: str | None) -> AbstractAsyncContextManager[Body]:
        """Open the file from `start` on, up to `end` (exclusive), unless it has another `validator` by now.

        Raises `SourceFailed` on entering; on leaving, for what went wrong while chunks were read, whatever they raised.
        """


async def download(
    source: Source,
    part: Path,
    *,
    size_bytes: int | None,
    most_bytes: int,
    patience: float,
    at_once: int = 4,
    block_bytes: int = BLOCK_BYTES,
    progress: Callable[[int, int | None], None] | None = None,
    room: Callable[[int], Awaitable[None]] | None = None,
) -> int:
    """Complete the file `part`, whose folder exists, and return its size in bytes. One caller at a time.

    Its journal stays beside it, so that a call for a whole file asks for nothing; `blocks.forget` removes it. `room` is
    told how large the file gets in all, before its first byte is written, and again and again where no size was told.
    What may work later is tried again until `patience` seconds brought no new byte.

    Raises `SourceFailed`, and OSError where the file cannot be stored: nothing of it is left then.
    """
    run = _Download(source, part, size_bytes, most_bytes, patience, at_once, block_bytes, progress, room)
    try:
        return await run.run()
    except OSError:
        # The disk is full, or fails: half a file is of no use to anybody.
        await in_thread(partial(forget, part))
        raise


class _Changed(Exception):
    """The source has another state of the file than the journal is about."""


@dataclass(slots=True)
class _Stretch:
    """What is still to be written of a block."""

    at: int
    end: int


class _Download:
    """One call of `download`."""

    def __init__(
        self,
        source: Source,
        part: Path,
        size_bytes: int | None,
        most_bytes: int,
        patience: float,
        at_once: int,
        block_bytes: int,
        progress: Callable[[int, int | None], None] | None,
        room: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self._source = source
        self._part = part
        self._size_bytes = size_bytes
        self._most_bytes = most_bytes
        self._patience = patience
        self._at_once = at_once
        self._block_bytes = block_bytes
        self._progress = progress
        self._room = room
        self._file = PartFile(part)
        self._journal: Journal | None = None
        self._is_met = False  # whether an answer of this call was about the journal's state of the file
        self._noting = asyncio.Lock()
        self._total_bytes = size_bytes
        self._room_bytes = 0
        self._done_bytes = 0
        self._most_done_bytes = 0
        self._last_new_byte = time.monotonic()

    async def run(self) -> int:
        """Complete the file; begin it anew where it has changed."""
        self._journal = await in_thread(self._load)
        changes = 0
        try:
            while True:
                try:
                    return await self._complete()
                except _Changed:
                    changes += self._is_met
                    self._journal, self._is_met, self._most_done_bytes = None, False, 0
                if changes > 1:
                    raise SourceFailed(
                        f"{self._source.what} changes the file while it is fetched. Try again when it is finished.",
                        retryable=True,
                    )
        except SourceFailed:
            if self._journal is None:  # nothing that a later call could go on with
                await in_thread(partial(forget, self._part))
            raise
        finally:
            await in_thread(self._file.close)

    def _load(self) -> Journal | None:
        journal = Journal.load(self._part)
        if journal is None or self._misfit(journal.total_bytes) is not None:
            return None
        self._done_bytes = journal.total_bytes - sum(block.end - block.start for block in journal.missing())
        return journal

    async def _complete(self) -> int:
        first = [Block(0, self._block_bytes)] if self._journal is None else self._journal.missing()[:1]
        for block in first:
            await self._fetch(block)
        journal = self._journal
        assert journal is not None
        missing = journal.missing()
        waiting = iter(missing)

        async def work() -> None:
            for block in waiting:
                await self._fetch(block)

        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._at_once, len(missing))):
                    group.create_task(work())
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]  # the others came of ending them
        if failure is not None:
            raise failure
        return journal.total_bytes

    async def _fetch(self, block: Block) -> None:
        """Write and note a block, going on after each break; or the whole file, where the source sends that."""
        stretch, backoff = _Stretch(*block), Backoff()
        while stretch.at < stretch.end:
            before = stretch.at
            try:
                validator = self._journal.validator if self._journal is not None else None
                async with self._source.open(stretch.at, stretch.end, validator) as body:
                    if not body.is_part:
                        await self._take_whole(body)
                        return
                    journal = await self._meet(body, stretch.at)
                    stretch.end = min(stretch.end, journal.total_bytes)
                    await self._write_all(body.chunks, stretch)
                    if stretch.at == before:
                        raise SourceFailed(f"{self._source.what} sent nothing of the file.", retryable=True)
            except SourceFailed as failure:
                if stretch.at > before:
                    backoff.reset()
                await self._wait(failure, backoff)
        async with self._noting:
            await in_thread(partial(self._note, block))

    async def _meet(self, body: Body, at: int) -> Journal:
        """Return the journal of the answer's state of the file, begun where there is none."""
        total = self._total_of(body)
        if total is None:
            raise SourceFailed(
                f"{self._source.what} sends parts of the file and does not tell its size.", retryable=False
            )
        if body.start != at:
            raise SourceFailed(
                f"{self._source.what} sent another part of the file than was asked for.", retryable=False
            )
        journal = self._journal
        if journal is None:
            await self._accept(total)
            journal = Journal(self._part, total, self._block_bytes, body.validator)
            await in_thread(partial(self._begin, total))
            await in_thread(journal.save)
        elif (journal.total_bytes, journal.validator) != (total, body.validator):
            raise _Changed
        elif not self._is_met:
            await self._accept(total)
            await in_thread(self._file.resume)
        self._journal, self._is_met = journal, True
        return journal

    async def _take_whole(self, body: Body) -> None:
        """Write the file from an answer that begins at 0 and is no part. What it leaves cannot be gone on with."""
        total, known = self._total_of(body), self._journal
        if known is not None:
            if not self._is_met or (known.total_bytes, known.validator) != (total, body.validator):
                raise _Changed
            raise SourceFailed(f"{self._source.what} sent the whole file instead of a part of it.", retryable=True)
        if total is not None:
            await self._accept(total)
        await in_thread(partial(self._begin, 0))
        most = self._most_bytes if total is None else total
        stretch = _Stretch(0, most + 1)
        await self._write_all(body.chunks, stretch)
        if stretch.at > most:
            raise SourceFailed(
                f"{self._source.what} sent more than the {most} bytes that are accepted here. Check the address.",
                retryable=False,
            )
        if total is not None and stretch.at < total:
            raise SourceFailed(f"{self._source.what} sent {stretch.at} of {total} bytes.", retryable=True)
        journal = Journal(self._part, stretch.at, self._block_bytes, body.validator)
        await in_thread(self._file.sync)
        await in_thread(journal.note_all)
        self._journal = journal

    def _begin(self, total: int) -> None:
        self._done_bytes = 0
        self._file.begin(total)

    def _note(self, block: Block) -> None:
        assert self._journal is not None
        self._file.sync()
        self._journal.note(block)

    async def _write_all(self, chunks: AsyncIterator[bytes], stretch: _Stretch) -> None:
        """Write what comes, up to the end of the stretch; also what came before a break."""
        waiting = bytearray()
        try:
            async for chunk in chunks:
                waiting += chunk[: stretch.end - stretch.at - len(waiting)]
                is_last = stretch.at + len(waiting) == stretch.end
                if len(waiting) >= _WRITE_BYTES or is_last:
                    data, waiting = waiting, bytearray()
                    await self._write(data, stretch)
                if is_last:
                    break
        finally:
            await self._write(waiting, stretch)

    async def _write(self, data: bytearray, stretch: _Stretch) -> None:
        if not data:
            return
        while stretch.at + len(data) > self._room_bytes and self._room_bytes < self._most_bytes:
            await self._make_room(min(self._room_bytes + self._block_bytes, self._most_bytes))
        await in_thread(partial(self._file.write, data, stretch.at))
        stretch.at += len(data)
        self._done_bytes += len(data)
        if self._done_bytes > self._most_done_bytes:
            # What is fetched again after a break is not new: a source that always breaks off there has its end.
            self._most_done_bytes = self._done_bytes
            self._last_new_byte = time.monotonic()
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)

    async def _accept(self, total: int) -> None:
        """Make room for a file of that size. Raises `SourceFailed` where it should have another."""
        if (misfit := self._misfit(total)) is not None:
            raise SourceFailed(f"{misfit} Check the address.", retryable=False)
        self._total_bytes = total
        await self._make_room(total)

    async def _make_room(self, total: int) -> None:
        if self._room is not None:
            began = time.monotonic()
            await self._room(total)
            self._last_new_byte += time.monotonic() - began  # that the store took its time is no fault of the source
        self._room_bytes = total

    async def _wait(self, failure: SourceFailed, backoff: Backoff) -> None:
        """Wait before the next try. Raises `failure` where none is due."""
        delay = backoff.delay()
        if not failure.retryable or time.monotonic() + delay > self._last_new_byte + self._patience:
            raise failure
        log.info("A download broke off; trying again.", source=self._source.what, why=str(failure))
        await asyncio.sleep(delay)

    def _total_of(self, body: Body) -> int | None:
        return self._size_bytes if body.total_bytes is None else body.total_bytes

    def _misfit(self, total: int) -> str | None:
        """Return what is wrong with a file of this size."""
        if self._size_bytes is not None and total != self._size_bytes:
            return f"{self._source.what} has a file of {total} bytes there instead of one of {self._size_bytes}."
        if total > self._most_bytes:
            return (
                f"{self._source.what} has a file of {total} bytes there; at most {self._most_bytes} are accepted here."
            )
        return None
