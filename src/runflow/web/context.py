"""The layer around every request: its id, its log line, its time, and the envelope for what nobody expected."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runflow import errors
from runflow.ids import new_id
from runflow.web.exception_handlers import respond, translate
from runflow.web.origin import MAX_USER_AGENT, Origin, set_origin

log = structlog.get_logger()

REQUEST_ID = "Runflow-Request-Id"


class RequestContext:
    """Gives each request an id (`Runflow-Request-Id` on every answer, the same in the log line)."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = str(new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        set_origin(_origin(scope, request_id))
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        # Also who breaks off in the middle of its body: nobody failed.
        except (CallerGone, ClientDisconnect):
            log.debug("caller gone", request_id=request_id, path=scope["path"])
            return
        except Exception as error:
            problem = translate(error)
            if isinstance(problem, errors.Internal):
                log.exception("request failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if status:
                raise
            await respond(problem)(scope, receive, send_with_id)
        level = log.warning if status >= 500 else log.debug
        level(
            "request",
            request_id=request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round((time.perf_counter() - started) * 1000, 2),
        )


def _origin(scope: Scope, request_id: str) -> Origin:
    peer = scope.get("client")
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return Origin(request_id, peer[0] if peer else None, agent[:MAX_USER_AGENT].decode("latin-1") or None)


T = TypeVar("T")


class CallerGone(Exception):
    """The caller closed the connection; nobody will read the answer."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and raise `CallerGone` as soon as the caller is gone.

    A long poll that outlived its caller would take a run for nobody.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise CallerGone
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
