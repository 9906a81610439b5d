"""The application on a real socket: httpx's ASGI transport does not stream, and commands are other processes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httpx
import pytest
import uvicorn
from sqlalchemy import URL
from starlette.types import ASGIApp

from runflow.db.database import Database
from runflow.master_key import MasterKey
from runflow.server import build_services, create_app
from runflow.web.connections import Connections
from runflow.web.services import Services
from tests.support.application import application_of


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application until the end of the block; gives its address."""
    with socket.socket() as listener:
        # Small buffers of the kernel: what is not read is soon the server's.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        # As `runflow up` has it: a stream that nobody reads can be given up.
        http = cast(type[asyncio.Protocol], Connections(1000).protocol())
        config = uvicorn.Config(
            app, http=http, log_config=None, log_level="warning", lifespan="off", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(60):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        await serving


@pytest.fixture
async def address(services: Services) -> AsyncIterator[str]:
    """Where the application answers; the URLs in its records lead to `http://testserver`."""
    async with served(application_of(services)) as url:
        yield url


@pytest.fixture(scope="module")
async def own_address(services: Services, db_url: URL, master_key: MasterKey) -> AsyncIterator[str]:
    """Where a second server process on the same database answers, whose records hold URLs that lead to it."""
    database = Database(db_url, master_key, pool=4)
    settings = services.settings.model_copy(update={"public_url": None})
    async with build_services(settings, database, master_key) as built, served(create_app(built)) as url:
        yield url
    await database.close()


@pytest.fixture
async def http(address: str, client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The caller `client`, on the socket."""
    headers = {"Authorization": client.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as opened:
        yield opened
