"""Every route of the plugin, all below /runflow, feature by feature, and what sees every request of ComfyUI's server.

ComfyUI serves them below /api too.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .answers import Routes
from .autosetup import routes as autosetup
from .deploy import connection
from .deploy import routes as deploy
from .playground import routes as playground
from .security import middleware
from .security import routes as security
from .version import VERSION

ROUTES = Routes()

FEATURES = (ROUTES, deploy.ROUTES, playground.ROUTES, security.ROUTES, autosetup.ROUTES)
"""The routes of each feature; the first are of none."""

MIDDLEWARES: list[Any] = [middleware.ask_for_password, connection.keep_key_out_of_settings]
"""What sees every request of ComfyUI's server, in this order: inside ComfyUI's own middlewares, outside of others'."""


@ROUTES.on("GET", "/runflow/info")
async def info(_request: web.Request) -> dict[str, Any]:
    """Which plugin this is."""
    return {"version": VERSION}


def add_to(table: web.RouteTableDef) -> None:
    """Add every route to a server's table."""
    for routes in FEATURES:
        routes.add_to(table)
