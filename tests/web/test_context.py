"""Long polls end with their callers."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from runflow.web.context import CallerGone, while_connected


def request(gone: asyncio.Event) -> Request:
    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


async def test_an_answer_reaches_a_caller_that_stays() -> None:
    async def work() -> int:
        return 7

    assert await while_connected(request(asyncio.Event()), work()) == 7


async def test_work_for_a_caller_that_went_away_is_cancelled() -> None:
    gone, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(while_connected(request(gone), work()))
    await asyncio.sleep(0)
    gone.set()
    with pytest.raises(CallerGone):
        await waiting
    assert cancelled.is_set()


async def test_a_failure_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await while_connected(request(asyncio.Event()), work())
