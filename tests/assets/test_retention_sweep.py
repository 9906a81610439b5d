import contextlib
import dataclasses
from collections.abc import Iterable

import httpx
import pytest

from runflow import errors
from runflow.assets.retention import sweep_stale_uploads
from runflow.web.services import Services
from tests.support.asset_lifetime import age
from tests.support.poisoned import poisoned
from tests.support.uploading import confirm, open_session, picture, send, upload


async def keys(services: Services, upload_id: str) -> list[str]:
    return [key for place in ("uploads", "assets") async for key in services.storage.list(f"{place}/{upload_id}")]


async def test_expired_sessions_and_their_bytes_go(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture()
    stale = await open_session(client, content)
    await send(stale["upload_url"], content, "image/png", client)
    empty = await open_session(client, content)
    fresh = await open_session(client, content)
    await send(fresh["upload_url"], content, "image/png", client)
    asset = await upload(client, content)
    for session in (stale, empty):
        await age(services, session["asset_id"], 3)

    async def fails(_: Iterable[str]) -> None:
        raise errors.Unavailable

    with monkeypatch.context() as patched, contextlib.suppress(errors.Unavailable):  # of many in a row
        patched.setattr(services.storage, "delete", fails)
        await sweep_stale_uploads(dataclasses.replace(services))
    assert await sweep_stale_uploads(services) >= 2, "what storage failed to remove is found again"
    assert await keys(services, stale["asset_id"]) == []
    for session in (stale, empty):
        assert (await confirm(client, session["asset_id"])).status_code == 404
    assert (await confirm(client, fresh["asset_id"])).status_code == 201
    assert await keys(services, asset["id"]) == [asset["r2_key"]]
    assert (await client.get(f"/v1/assets/{asset['id']}")).status_code == 200


async def test_a_session_whose_bytes_stay_keeps_no_other(client: httpx.AsyncClient, services: Services) -> None:
    content, sessions = picture(), []
    for _ in range(2):
        sessions.append((await open_session(client, content))["asset_id"])
        await age(services, sessions[-1], 3)
    await sweep_stale_uploads(poisoned(services, sessions[0]))
    assert await open_sessions(services, sessions) == [sessions[0]]
    await sweep_stale_uploads(services)
    assert await open_sessions(services, sessions) == []


async def open_sessions(services: Services, ids: list[str]) -> list[str]:
    async with services.db.system() as transaction:
        statement = "SELECT id::text FROM asset_uploads WHERE id = ANY(CAST(%(ids)s AS uuid[]))"
        return await transaction.values(statement, {"ids": ids}, of=str)


async def test_a_session_in_its_hour_of_grace_can_be_confirmed(client: httpx.AsyncClient, services: Services) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    await age(services, session["asset_id"], 1)
    await sweep_stale_uploads(services)
    assert (await confirm(client, session["asset_id"])).status_code == 201


async def test_bytes_sent_after_the_confirmation_go(client: httpx.AsyncClient, services: Services) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    asset = (await confirm(client, session["asset_id"])).json()
    await send(session["upload_url"], content, "image/png", client)
    assert len(await keys(services, asset["id"])) == 2
    await age(services, asset["id"], 3)
    await sweep_stale_uploads(services)
    assert await keys(services, asset["id"]) == [asset["r2_key"]]
    assert (await confirm(client, asset["id"])).json()["r2_key"] == asset["r2_key"]
