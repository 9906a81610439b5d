"""One file in parallel ranges: whole, of one state, and no byte of a whole block fetched twice."""

import asyncio
import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.server_api.connection import Connection
from runflow.worker.store.fetch.blocks import forget, journal_of
from runflow.worker.store.fetch.ranges import SourceFailed, download
from runflow.worker.store.fetch.sources import ServerSource
from tests.worker.store.storage import BLOCK, Gate, Storage, content_of, serving, whole_blocks

SIZE = 12 * BLOCK + 1234
CONTENT = content_of(SIZE)
OTHER = content_of(SIZE + 5000, "other")


class Fetcher:
    """Downloads what a storage has into one part."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.part = folder / "model.part"
        self._connection = connection

    async def fetch(self, storage: Storage, **changes: Any) -> int:
        settings: dict[str, Any] = {"size_bytes": None, "most_bytes": 1 << 30, "patience": 60, "block_bytes": BLOCK}
        return await download(ServerSource(self._connection, storage.url), self.part, **{**settings, **changes})

    async def failure(self, storage: Storage, **changes: Any) -> SourceFailed:
        with pytest.raises(SourceFailed) as failed:
            await self.fetch(storage, **changes)
        assert "SECRET" not in str(failed.value)
        return failed.value

    def has(self, content: bytes) -> bool:
        return self.part.read_bytes() == content and whole_blocks(self.part)[-1][1] == len(content)


@pytest.fixture
async def fetcher(connection: Connection, tmp_path: Path) -> Fetcher:
    return Fetcher(connection, tmp_path)


async def test_blocks_are_fetched_at_once(fetcher: Fetcher) -> None:
    """Nobody gets a block before three others are asked for."""
    async with serving(Storage(CONTENT)) as storage:
        storage.before = Gate(4)
        async with asyncio.timeout(60):
            assert await fetcher.fetch(storage, size_bytes=SIZE) == SIZE
    assert fetcher.has(CONTENT)
    assert storage.most_at_once == 4
    starts = range(0, SIZE, BLOCK)
    assert sorted(storage.asked) == [(start, start + BLOCK if start + BLOCK < SIZE else SIZE) for start in starts]


async def test_a_whole_file_is_not_asked_for_again(fetcher: Fetcher) -> None:
    async with serving(Storage(CONTENT)) as storage:
        await fetcher.fetch(storage)
        storage.asked.clear()
        assert await fetcher.fetch(storage) == SIZE
        assert storage.asked == []
    forget(fetcher.part)
    assert not journal_of(fetcher.part).exists()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("knows_ranges", [True, False])
async def test_any_size(fetcher: Fetcher, size: int, knows_ranges: bool) -> None:
    async with serving(Storage(content_of(size))) as storage:
        storage.knows_ranges = knows_ranges
        assert await fetcher.fetch(storage) == size
        assert fetcher.part.read_bytes() == content_of(size)
        storage.asked.clear()
        assert await fetcher.fetch(storage) == size
        assert storage.asked == []


async def test_breaks_are_gone_on_from_where_they_were(fetcher: Fetcher) -> None:
    chance = random.Random(1)
    async with serving(Storage(CONTENT)) as storage:
        storage.breaks.extend(chance.randrange(BLOCK) for _ in range(10))
        await fetcher.fetch(storage)
    assert fetcher.has(CONTENT)
    for first in range(0, SIZE, BLOCK):
        starts = [start for start, _ in storage.asked if first <= start < first + BLOCK]
        assert starts == sorted(starts), "it never goes back"
    begun = [start for start, _ in storage.asked if start % BLOCK]
    assert begun, "not every block is begun again"


async def test_answers_of_500_and_429_are_tried_again(fetcher: Fetcher) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.statuses.extend((500, 429, 503))
        await fetcher.fetch(storage)
    assert fetcher.has(CONTENT)
    assert storage.bytes_sent == SIZE


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_answers_of_4xx_end_it_at_once_and_a_later_call_goes_on(fetcher: Fetcher, status: int) -> None:
    async with serving(Storage(CONTENT)) as storage:
        failure_at_first = [status]

        async def before(start: int) -> None:
            if start >= 6 * BLOCK and failure_at_first:
                storage.statuses.extend(failure_at_first)
                failure_at_first.clear()

        storage.before = before
        failure = await fetcher.failure(storage)
        assert not failure.retryable
        assert str(status) in str(failure)
        whole = whole_blocks(fetcher.part)
        assert len(whole) >= 4
        storage.asked.clear()
        await fetcher.fetch(storage)
        assert storage.asked_of(whole) == []
    assert fetcher.has(CONTENT)


async def test_patience_ends_where_no_new_byte_comes(fetcher: Fetcher) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.breaks.append(3 * BLOCK // 4)
        failure = await fetcher.failure(storage, patience=0)
        assert failure.retryable
        storage.statuses.extend([503] * 1000)
        failure = await fetcher.failure(storage, patience=0.2)
        assert failure.retryable
        assert "503" in str(failure)
        storage.statuses.clear()
        await fetcher.fetch(storage, patience=0)
    assert fetcher.has(CONTENT)


async def test_a_source_without_ranges_that_always_breaks_off_there_has_an_end(fetcher: Fetcher) -> None:
    async def room(total: int) -> None:
        assert total == SIZE

    async with serving(Storage(CONTENT)) as storage:
        storage.knows_ranges = False
        storage.breaks.extend([10 * BLOCK] * 12)
        failure = await fetcher.failure(
            storage, patience=2.5, room=room
        )  # longer than the longest pause between two tries
        assert failure.retryable
    assert list(fetcher.part.parent.glob("model.part*")) == [], "nothing that a later call could go on with"


@pytest.mark.parametrize("tells_size", [True, False])
async def test_a_source_without_ranges(fetcher: Fetcher, tells_size: bool) -> None:
    told: list[int] = []

    async def room(total: int) -> None:
        told.append(total)

    async with serving(Storage(CONTENT)) as storage:
        storage.knows_ranges, storage.tells_size = False, tells_size
        storage.breaks.append(5 * BLOCK)
        assert await fetcher.fetch(storage, room=room) == SIZE
        assert fetcher.has(CONTENT)
        assert len(storage.asked) == 2
    assert (told == [SIZE, SIZE]) == tells_size
    assert max(told) >= SIZE


async def test_another_size_is_refused_before_anything_is_written(fetcher: Fetcher) -> None:
    for knows_ranges in (True, False):
        async with serving(Storage(CONTENT)) as storage:
            storage.knows_ranges = knows_ranges
            failure = await fetcher.failure(storage, size_bytes=SIZE + 1)
            assert not failure.retryable
            assert f"{SIZE} bytes there instead of one of {SIZE + 1}" in str(failure)
            failure = await fetcher.failure(storage, most_bytes=SIZE - 1)
            assert not failure.retryable
            assert f"at most {SIZE - 1}" in str(failure)
            assert len(storage.asked) == 2
    assert not fetcher.part.exists()


@pytest.mark.parametrize("limit", ["size_bytes", "most_bytes"])
async def test_more_than_was_told_is_refused(fetcher: Fetcher, limit: str) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.knows_ranges = storage.tells_size = False
        failure = await fetcher.failure(storage, **{limit: SIZE - 1})
    assert not failure.retryable
    assert str(SIZE - 1) in str(failure)
    assert not fetcher.part.exists()


async def test_room_is_made_before_the_first_byte_is_written(fetcher: Fetcher) -> None:
    told = []

    async def room(total: int) -> None:
        assert not fetcher.part.exists()
        told.append(total)

    async def no_room(total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with serving(Storage(CONTENT)) as storage:
        with pytest.raises(OSError, match="No space left"):
            await fetcher.fetch(storage, room=no_room)
        await fetcher.fetch(storage, room=room)
    assert told == [SIZE]
    assert fetcher.has(CONTENT)


async def test_progress_is_told(fetcher: Fetcher) -> None:
    told: list[tuple[int, int | None]] = []
    async with serving(Storage(CONTENT)) as storage:
        await fetcher.fetch(storage, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (SIZE, SIZE)
    assert {total for _, total in told} == {SIZE}


@pytest.mark.parametrize("knows_if_range", [True, False])
async def test_a_file_that_changes_once_is_begun_anew(fetcher: Fetcher, knows_if_range: bool) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.knows_if_range = knows_if_range

        async def before(start: int) -> None:
            if start == 5 * BLOCK:
                storage.content, storage.headers = OTHER, {"ETag": '"2"'}

        storage.before = before
        assert await fetcher.fetch(storage) == len(OTHER)
    assert fetcher.has(OTHER)


@pytest.mark.parametrize("knows_if_range", [True, False])
async def test_a_file_that_keeps_changing_is_refused(fetcher: Fetcher, knows_if_range: bool) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.knows_if_range = knows_if_range

        async def before(start: int) -> None:
            storage.headers = {"ETag": f'"{len(storage.asked)}"'}

        storage.before = before
        failure = await fetcher.failure(storage)
    assert "changes the file" in str(failure)
    assert not fetcher.part.exists()


@pytest.mark.parametrize("change", ["content", "ranges", "journal", "size"])
async def test_what_an_earlier_call_had_of_another_file_is_not_used(fetcher: Fetcher, change: str) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.statuses.clear()
        storage.breaks.extend([BLOCK, BLOCK, BLOCK, 0, 0, 0, 0, 0])
        await fetcher.failure(storage, patience=0, at_once=1)
        assert len(whole_blocks(fetcher.part)) == 3
        storage.breaks.clear()
        expected = CONTENT
        if change == "content":
            storage.content, storage.headers = expected, _ = OTHER, {"ETag": '"2"'}
        elif change == "ranges":
            storage.knows_ranges = False
        elif change == "journal":
            journal_of(fetcher.part).write_text("broken")
        else:
            storage.content = expected = CONTENT[:BLOCK]
        assert await fetcher.fetch(storage) == len(expected)
    assert fetcher.has(expected)


async def test_a_server_that_stops_to_know_ranges_is_not_believed(fetcher: Fetcher) -> None:
    async with serving(Storage(CONTENT)) as storage:

        async def before(start: int) -> None:
            storage.knows_ranges = len(storage.asked) != 3

        storage.before = before
        assert await fetcher.fetch(storage) == SIZE
    assert fetcher.has(CONTENT)


async def test_a_full_disk_leaves_nothing(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    written: list[int] = []

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if len(written) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(offset)
        return write(file, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    async with serving(Storage(CONTENT)) as storage:
        with pytest.raises(OSError, match="No space left"):
            await fetcher.fetch(storage)
    assert list(fetcher.part.parent.glob("model.part*")) == []


async def test_cancellations_at_any_place_are_gone_on_from(fetcher: Fetcher) -> None:
    chance = random.Random(2)
    async with serving(Storage(CONTENT)) as storage:
        whole: list[tuple[int, int]] = []
        for _ in range(10):
            task = asyncio.ensure_future(fetcher.fetch(storage))
            at = storage.bytes_sent + chance.randrange(1, 2 * BLOCK)
            storage.sent = lambda sent, at=at, task=task: task.cancel() if sent >= at else None
            await asyncio.wait({task})
            assert open_files(fetcher.part) == 0
            if not task.cancelled():
                assert task.result() == SIZE
                break
            assert storage.asked_of(whole) == []
            storage.asked.clear()
            whole = whole_blocks(fetcher.part)
        storage.sent = None
        await fetcher.fetch(storage)
        assert storage.asked_of(whole) == []
    assert fetcher.has(CONTENT)


def open_files(path: Path) -> int:
    return sum(os.path.realpath(entry) == str(path) for entry in Path("/proc/self/fd").iterdir())
