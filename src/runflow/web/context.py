"""The layer around every request: its id, its log line, its time, and the envelope for what nobody expected."""

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runflow import errors
from runflow.ids import new_id
from runflow.web.disconnect import CallerGone
from runflow.web.origin import MAX_USER_AGENT, Origin, set_origin
from runflow.web.problems import respond, translate

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
        except CallerGone:
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
