"""Server-Sent Events: an answer that goes on until its source ends, its caller leaves, or the server stops."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runflow.web.connections import abort_connection
from runflow.web.context import CallerGone, while_connected
from runflow.web.responses import dumps

log = structlog.get_logger()

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: proxies close connections on which nothing moves."""
STALLED_SECONDS = 30.0
"""A caller that takes nothing for so long while something waits to be sent has its connection dropped: its client comes
back with `Last-Event-ID`. Until then it costs what the buffers of one connection hold."""
RETRY = b"retry: 2000\n\n"
"""How long a client waits before it connects again, in milliseconds."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def server_sent_event(number: int, type_: str, data: Mapping[str, Any]) -> bytes:
    """Return one event as text: JSON has no line breaks, so it is one `data` line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, type_.encode(), dumps(data))


def momentary_event(type_: str, data: Mapping[str, Any]) -> bytes:
    """Return an event without a number: it is not told again, and does not move a client's `Last-Event-ID`."""
    return b"event: %s\ndata: %s\n\n" % (type_.encode(), dumps(data))


class EventStream(Response):
    """Sends what a generator yields, as it yields it, and closes it when the caller is gone or reads no more.

    `place` is held while it is open, and may raise before anything is sent.
    """

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncGenerator[bytes], place: AbstractContextManager[None]) -> None:
        """Answer 200 with these parts."""
        super().__init__(status_code=200, headers=_HEADERS)
        del self.headers["content-length"]
        self._parts = parts
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one caller. Raises `CallerGone`, and what `place` raises."""
        with self._place:
            await while_connected(Request(scope, receive), self._send(scope, send))

    async def _send(self, scope: Scope, send: Send) -> None:
        async with aclosing(self._parts) as parts:
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await _written(send, RETRY)
                async for part in parts:
                    await _written(send, part)
                await _written(send, b"", more=False)
            except _Stalled:
                log.info("an event stream that nobody reads is ended", path=scope["path"])
                if not abort_connection(scope):
                    raise CallerGone from None
                await asyncio.Event().wait()  # for the end of the connection, which ends this


class _Stalled(Exception):
    """The caller did not take what was sent."""


async def _written(send: Send, part: bytes, *, more: bool = True) -> None:
    """Send a part. Returns when what was sent before is on its way; raises `_Stalled` when it never is."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await send({"type": "http.response.body", "body": part, "more_body": more})
    except TimeoutError:
        raise _Stalled from None
