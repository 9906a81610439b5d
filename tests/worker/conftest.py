"""What the worker's tests share: a double of the server, a scripted engine, and an agent between them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.agent import Agent
from runflow.worker.engine.base import Engine
from runflow.worker.server_api.connection import Connection
from runflow.worker.settings import Limits, WorkerSettings
from tests.support.fake_server import TOKEN, FakeServer
from tests.support.waiting import DEADLINE
from tests.worker.scripted_engine import ScriptedEngine

StartWorker = Callable[..., AbstractAsyncContextManager[Agent]]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connection(server: FakeServer) -> AsyncIterator[Connection]:
    async with Connection(server.url, TOKEN, instance=uuid.uuid4()) as connection:
        yield connection


@pytest.fixture
async def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "engine")


@pytest.fixture
def worker(server: FakeServer, engine: ScriptedEngine, tmp_path: Path) -> StartWorker:
    """Start an agent on the double of the server and the scripted engine; stops it at the end of the block."""

    @asynccontextmanager
    async def start(
        *, find: Callable[[], Engine] | None = None, ready: bool = True, limits: Limits | None = None, **changes: Any
    ) -> AsyncIterator[Agent]:
        values: dict[str, Any] = {
            "server": server.url,
            "token": TOKEN,
            "name": "box-1",
            "home": tmp_path / "worker",
            "comfyui_dir": tmp_path / "comfyui",
            "grace": 0.2,
            "limits": limits or Limits(),
        }
        agent = Agent(WorkerSettings(**{**values, **changes}), find or (lambda: engine))
        running = asyncio.create_task(agent.run())
        try:
            if ready:
                await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "ready")
            yield agent
        finally:
            agent.stop()
            async with asyncio.timeout(DEADLINE):
                await running

    return start
