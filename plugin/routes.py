"""The plugin's routes, all below /runflow: one line each, the work is elsewhere. ComfyUI serves them below /api too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .answers import Handler, answered
from .version import VERSION

ROUTES: list[tuple[str, str, Handler]] = []
"""Method, path and handler of every route."""

MIDDLEWARES: list[Any] = []
"""What sees every request of ComfyUI's server, in this order, inside ComfyUI's own middlewares."""


def _on(method: str, path: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.append((method, path, handler))
        return handler

    return add


def add_to(table: web.RouteTableDef) -> None:
    """Add every route to a server's table; all answer in the same way (`answers.answered`)."""
    for method, path, handler in ROUTES:
        table.route(method, path)(answered(handler))


@_on("GET", "/runflow/info")
async def info(_request: web.Request) -> dict[str, Any]:
    """Which plugin this is."""
    return {"version": VERSION}
