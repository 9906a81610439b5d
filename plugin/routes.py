"""The plugin's routes, all below /runflow: one line each, the work is elsewhere. ComfyUI serves them below /api too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .answers import Handler, answered
from .deploy import connection
from .deploy import job as deploy_job
from .version import VERSION

ROUTES: list[tuple[str, str, Handler]] = []
"""Method, path and handler of every route."""

MIDDLEWARES: list[Any] = [connection.keep_key_out_of_settings]
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


@_on("GET", "/runflow/connection")
async def get_connection(request: web.Request) -> dict[str, Any]:
    """The server's address and the end of the stored key."""
    return connection.describe(request)


@_on("PUT", "/runflow/connection/key")
async def put_key(request: web.Request) -> dict[str, Any]:
    """Store the API key."""
    return await connection.store_key(request)


@_on("DELETE", "/runflow/connection/key")
async def delete_key(request: web.Request) -> dict[str, Any]:
    """Forget the API key."""
    return connection.forget_key(request)


@_on("POST", "/runflow/deploy/jobs")
async def start_deploy(request: web.Request) -> dict[str, Any]:
    """Prepare a deployment."""
    return await deploy_job.start(request)


@_on("GET", "/runflow/deploy/jobs/{id}")
async def get_deploy(request: web.Request) -> dict[str, Any]:
    """How far a deployment is."""
    return deploy_job.find(request)


@_on("POST", "/runflow/deploy/jobs/{id}/confirmation")
async def confirm_deploy(request: web.Request) -> dict[str, Any]:
    """Send a deployment that the person has seen."""
    return await deploy_job.confirm(request)


@_on("DELETE", "/runflow/deploy/jobs/{id}")
async def cancel_deploy(request: web.Request) -> dict[str, Any]:
    """Call a deployment off."""
    return deploy_job.cancel(request)
