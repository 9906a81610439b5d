"""Both clients on the application, on a real socket, behind one face: what holds of one holds of the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runflow.client import AsyncRunflow, Runflow
from tests.support.deployed import Worker


class Both:
    """`await api.run(…)` calls either client; what it iterates over comes as a list."""

    def __init__(self, client: Runflow | AsyncRunflow) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*arguments: Any, **more: Any) -> Any:
            if isinstance(self.client, Runflow):
                return await asyncio.to_thread(lambda: _whole(method(*arguments, **more)))
            found = method(*arguments, **more)
            if hasattr(found, "__aiter__"):
                return [one async for one in found]
            return await found

        return call


def _whole(found: Any) -> Any:
    return list(found) if hasattr(found, "__next__") else found


class _Here(httpx.HTTPTransport):
    """Sends what is for the application's public address to where it really answers."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = httpx.URL(address)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host=self._address.host, port=self._address.port)
        return super().handle_request(request)


class _AsyncHere(httpx.AsyncHTTPTransport):
    """The same for the other client."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = httpx.URL(address)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host=self._address.host, port=self._address.port)
        return await super().handle_async_request(request)


@pytest.fixture(params=["sync", "async"])
async def api(request: pytest.FixtureRequest, address: str, client: httpx.AsyncClient) -> AsyncIterator[Both]:
    """The organization of `client`, called by the SDK."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    if request.param == "sync":
        with Runflow(address, key, transport=_Here(address)) as blocking:
            yield Both(blocking)
    else:
        async with AsyncRunflow(address, key, transport=_AsyncHere(address)) as awaited:
            yield Both(awaited)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What the developer who runs the tests is logged in to is no part of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RUNFLOW_URL", "RUNFLOW_API_KEY", "RUNFLOW_CA_FILE"):
        monkeypatch.delenv(name, raising=False)


class Serving:
    """A worker that takes runs one after the other and delivers this content, until the end of the block."""

    def __init__(self, worker: Worker, content: bytes = b"picture", *, fails: bool = False) -> None:
        self._worker = worker
        self._content = content
        self._fails = fails
        self.inputs: list[dict[str, Any]] = []

    async def __aenter__(self) -> "Serving":
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            lease = await self._worker.lease(wait=5)
            if lease is None:
                continue
            self.inputs.append(lease["input"])
            progress = [event(number, "progress", value=number, max=4) for number in (1, 4)]
            await self._worker.heartbeat(lease, *progress)
            if self._fails:
                await self._worker.fail(lease, "EXECUTION_FAILED")
            else:
                await self._worker.complete(lease, outputs=[await self._worker.upload(lease, self._content)])


def event(number: int, kind: str, **data: Any) -> dict[str, Any]:
    """Return an event as workers send them."""
    return {"number": number, "type": kind, "at": "2026-01-31T10:00:00+00:00", "data": data}
