"""Decoding happens in a process with bounded time and memory, and nobody waits long for others' pictures."""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from runflow.assets.images.drawing_process import Busy, DrawingProcess
from runflow.storage.store import once
from tests.support.uploading import picture
from tests.support.waiting import until


@pytest.fixture
async def process() -> AsyncIterator[DrawingProcess]:
    process = DrawingProcess(draw_seconds=60)
    yield process
    await process.close()


async def drawn(process: DrawingProcess, content: bytes) -> bytes | None:
    return await process.draw(once(content), len(content))


def scan_bomb() -> bytes:
    """Return a JPEG of 300 KB whose last scan comes again and again: fifty megabytes of them would take half a day."""
    out = io.BytesIO()
    Image.new("L", (8000, 8000)).save(out, "JPEG", progressive=True)
    whole = out.getvalue().removesuffix(b"\xff\xd9")
    return whole + whole[whole.rindex(b"\xff\xda") :] * 500 + b"\xff\xd9"


async def test_a_picture_that_takes_long_has_none_and_the_next_one_has(process: DrawingProcess) -> None:
    process._draw_seconds = 1
    async with asyncio.timeout(60):
        assert await drawn(process, scan_bomb()) is None
    process._draw_seconds = 60
    small = await drawn(process, picture(size=(64, 48)))
    assert small is not None and Image.open(io.BytesIO(small)).size == (64, 48)


async def test_who_comes_second_does_not_wait_long() -> None:
    process = DrawingProcess(patience_seconds=0.05)
    reached, released = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        reached.set()
        await released.wait()
        yield picture()

    try:
        async with asyncio.timeout(60):
            first = asyncio.create_task(process.draw(slow(), len(picture())))
            await reached.wait()
            with pytest.raises(Busy):
                await drawn(process, picture())
            released.set()
            assert await first
    finally:
        await process.close()


async def test_a_source_that_fails_or_a_caller_that_leaves_spoils_nothing(process: DrawingProcess) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await process.draw(broken(), 100)
    leaving = asyncio.create_task(drawn(process, scan_bomb()))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert await drawn(process, picture()) is not None


async def test_an_idle_process_ends(process: DrawingProcess) -> None:
    short = DrawingProcess(idle_seconds=0)
    assert await drawn(short, picture()) is not None
    await until(lambda: not short._pool.running)
    assert await drawn(short, picture()) is not None, "and is started again"
    await short.close()


async def test_a_machine_that_starts_no_process_has_thumbnails_later(
    process: DrawingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Busy):
        patched.setattr("sys.executable", "/nonexistent/python")
        await drawn(process, picture())
    assert await drawn(process, picture()) is not None


async def test_what_follows_a_picture_is_not_drawn_for_the_next_one(process: DrawingProcess) -> None:
    """As when the object was replaced by a larger one after its size was written down."""
    first, other = picture(size=(64, 48)), picture(size=(20, 10))
    await process.draw(once(first + len(other).to_bytes(8) + other), len(first))
    small = await drawn(process, first)
    assert small is not None and Image.open(io.BytesIO(small)).size == (64, 48)
