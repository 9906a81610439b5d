"""Both clients on the application, on a real socket, behind one face: what holds of one holds of the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runflow.client import AsyncRunflow, Runflow


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


@pytest.fixture(params=["sync", "async"])
async def api(request: pytest.FixtureRequest, own_address: str, client: httpx.AsyncClient) -> AsyncIterator[Both]:
    """The organization of `client`, called by the SDK."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    if request.param == "sync":
        with Runflow(own_address, key) as blocking:
            yield Both(blocking)
    else:
        async with AsyncRunflow(own_address, key) as awaited:
            yield Both(awaited)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What the developer who runs the tests is logged in to is no part of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RUNFLOW_URL", "RUNFLOW_API_KEY", "RUNFLOW_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
