"""Server-Sent Events: an answer that goes on until its source ends, its caller leaves, or the server stops."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runflow.web.context import while_connected
from runflow.web.responses import dumps

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: proxies close connections on which nothing moves."""
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
    """Sends what a generator yields, as it yields it, and closes it when the caller is gone.

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
            await while_connected(Request(scope, receive), self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._parts) as parts:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": RETRY, "more_body": True})
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
