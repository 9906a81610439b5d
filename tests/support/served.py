"""The application on a real socket: httpx's ASGI transport does not stream."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from runflow.web.services import Services
from tests.support.application import application_of


@pytest.fixture
async def address(services: Services) -> AsyncIterator[str]:
    """Where the application answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(application_of(services), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
        )
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(60):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        await serving


@pytest.fixture
async def http(address: str, client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The caller `client`, on the socket."""
    headers = {"Authorization": client.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as opened:
        yield opened
