"""The operator's look at sources by the SDK."""

import asyncio
import contextlib

import httpx

from runflow.client import AsyncRunflow, PermissionDenied, Runflow, Source
from tests.client.conftest import Both
from tests.support.sources import COMMIT, deploy, fresh_origin


async def test_sources_are_listed_approved_and_revoked(
    own_address: str, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    key = operator.headers["Authorization"].removeprefix("Bearer ")
    async with contextlib.AsyncExitStack() as opened:
        await _look(own_address, key, client, opened)


async def _look(own_address: str, key: str, client: httpx.AsyncClient, opened: contextlib.AsyncExitStack) -> None:
    for of in (Runflow, AsyncRunflow):
        api, origin = Both(of(own_address, key)), fresh_origin()
        opened.push_async_callback(api.close)
        made = await deploy(client, origin)
        (source,) = await api.sources(q=f"origin:'{origin}'")
        assert isinstance(source, Source) and (source.commit, source.state_code) == (COMMIT, "waiting")
        assert source.names == ["pack0"] and source.workflows_count == 1
        assert [one["path"] for one in source.workflows] == [made["path"]]
        assert source.first_seen_at is not None and source.decided_at is None
        assert (await api.approve_source(source)).state_code == "approved"
        assert (await api.revoke_source(source.id)).state_code == "revoked"


async def test_another_organization_is_refused(
    own_address: str, operator: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    assert operator.headers != client.headers, "the first organization is the operator's"
    key = client.headers["Authorization"].removeprefix("Bearer ")

    def ask() -> str:
        with Runflow(own_address, key) as api:
            try:
                return str(list(api.sources()))
            except PermissionDenied as error:
                return error.code

    assert await asyncio.to_thread(ask) == "PERMISSION_DENIED"
