"""Long polls end with their callers."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from runflow.web.context import CallerGone, RequestContext, while_connected


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


async def test_a_caller_that_breaks_off_in_its_body_is_no_server_error() -> None:
    async def read(scope: Scope, receive: Receive, _send: Send) -> None:
        await Request(scope, receive).body()

    parts: list[Message] = [
        {"type": "http.request", "body": b'{"input"', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return parts.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": [], "client": ("127.0.0.1", 1)}
    with capture_logs() as lines:
        await RequestContext(read)(scope, receive, send)
    assert not sent
    assert [line for line in lines if line["log_level"] != "debug"] == []
