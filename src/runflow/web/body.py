"""Limits on request bodies, before anything reads them."""

import re
from collections.abc import Iterable

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runflow import errors
from runflow.web.exception_handlers import respond
from runflow.web.route_table import RouteSpec


class BodyLimit:
    """Refuses a body over `limit` bytes with 413, by its declared length or as soon as it passes the limit."""

    def __init__(self, app: ASGIApp, limit: int, routes: Iterable[RouteSpec] = ()) -> None:
        """Wrap the application; `limit` in bytes. Those of `routes` that stream their bodies bound them themselves."""
        self.app = app
        self.limit = limit
        self._streaming: dict[str, list[re.Pattern[str]]] = {}
        for route in routes:
            if route.streams_body:
                self._streaming.setdefault(route.method, []).append(compile_path(route.path)[0])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or self._is_streamed(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self.limit:
            await respond(self._too_large())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> errors.PayloadTooLarge:
        return errors.PayloadTooLarge(f"The request body is larger than {self.limit} bytes (RUNFLOW_MAX_BODY_BYTES).")

    def _is_streamed(self, method: str, path: str) -> bool:
        # A generator would cost every upload more than the match does.
        for pattern in self._streaming.get(method, ()):  # noqa: SIM110
            if pattern.match(path):
                return True
        return False
