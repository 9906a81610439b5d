"""What the worker's tests share: a double of the server, and a connection to it."""

import uuid
from collections.abc import AsyncIterator

import pytest

from runflow.worker.connection import Connection
from tests.worker.fake_server import TOKEN, FakeServer


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
