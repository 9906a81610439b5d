"""Uploads as the public clients make them (docs/compatibility.md), each step repeated as after a lost answer.

The JavaScript SDK insists on https; `tests/contract` has it. Here is what it, the plugin and the proxies share.
"""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from runflow.assets import uploads
from tests.support.uploading import confirm, open_session, picture, send

SESSION_KEYS = {"asset_id", "upload_url"}


@pytest.mark.parametrize("confirmation", [{}, {"folder_id": None}, None])
async def test_every_step_may_be_sent_twice(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, confirmation: dict[str, Any] | None
) -> None:
    content = picture()
    body = {"filename": "photo.png", "mime_type": "image/png", "size_bytes": len(content)}
    first, second = [await client.post("/v1/asset-uploads", json=body) for _ in range(2)]
    assert first.status_code == second.status_code == 201
    assert first.json().keys() >= SESSION_KEYS
    assert first.json()["asset_id"] != second.json()["asset_id"], "the first answer was lost: it is nobody's"
    session = second.json()
    for _ in range(2):
        sent = await anonymous.put(session["upload_url"], content=content, headers={"Content-Type": "image/png"})
        assert sent.status_code in (200, 201, 204)
    url = f"/v1/asset-uploads/{session['asset_id']}/confirmations"
    answers = await asyncio.gather(*(client.post(url, json=confirmation) for _ in range(3)))
    answers.append(await client.post(url, json=confirmation))
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["id"] for answer in answers} == {session["asset_id"]}
    assert len({answer.json()["r2_key"] for answer in answers}) == 1
    for answer in answers:
        assert (await anonymous.get(answer.json()["url"])).content == content
    late = await anonymous.put(session["upload_url"], content=content[::-1], headers={"Content-Type": "image/png"})
    assert late.status_code == 200
    asset = (await client.get(f"/v1/assets/{session['asset_id']}")).json()
    assert (await anonymous.get(asset["url"])).content == content, "an asset never changes"
    listed = (await client.get("/v1/assets")).json()["items"]
    assert [item["id"] for item in listed] == [session["asset_id"]]


async def test_a_connection_that_breaks_in_the_commit_takes_no_file_from_its_asset(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", anonymous)
    insert = uploads._insert

    async def committed(*arguments: Any) -> Any:
        await insert(*arguments)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as broken:
        broken.setattr(uploads, "_insert", committed)
        assert (await confirm(client, session["asset_id"])).status_code >= 500
    asset = (await confirm(client, session["asset_id"])).json()
    assert (await anonymous.get(asset["url"])).content == content


async def test_an_idempotency_key_makes_one_session(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    content = picture()
    body = {"filename": "photo.png", "mime_type": "image/png", "size_bytes": len(content)}
    key = {"Idempotency-Key": "upload-1"}
    first, again = [await client.post("/v1/asset-uploads", json=body, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    url = f"/v1/asset-uploads/{first.json()['asset_id']}/confirmations"
    key = {"Idempotency-Key": "confirm-1"}
    early = await client.post(url, json={}, headers=key)
    assert early.status_code == 422
    await anonymous.put(first.json()["upload_url"], content=content, headers={"Content-Type": "image/png"})
    done, again = [await client.post(url, json={}, headers={"Idempotency-Key": "confirm-2"}) for _ in range(2)]
    assert (done.status_code, again.status_code) == (201, 201)
    assert done.json()["id"] == again.json()["id"]
    assert (await anonymous.get(again.json()["url"])).content == content


async def test_a_file_of_a_type_nobody_knows(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    """The plugin sends `application/octet-stream` for unknown extensions."""
    body = {"filename": "x.latent", "mime_type": "application/octet-stream", "size_bytes": 3}
    session = (await client.post("/v1/asset-uploads", json=body)).json()
    types = {"Content-Type": "application/octet-stream"}
    assert (await anonymous.put(session["upload_url"], content=b"abc", headers=types)).status_code == 200
    answer = await client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations", json={})
    assert (answer.status_code, answer.json()["asset_type"]) == (201, "other")
