"""The HTTP connections of a server: uvicorn's, and with them the means to give one up."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ABORT = "abort_connection"


class HttpConnection(HttpToolsProtocol):
    """One connection. ASGI has no way to end it while its caller does not read: closing waits for what is unsent."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Hand every request of this connection the means to abort it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _ABORT: transport.abort}


def abort_connection(scope: Scope) -> bool:
    """Drop the connection of a request at once, with what was not sent; False where nothing can (no real socket)."""
    state: dict[str, Any] = scope.get("state") or {}
    abort: Callable[[], None] | None = state.get(_ABORT)
    if abort is None:
        return False
    abort()
    return True
