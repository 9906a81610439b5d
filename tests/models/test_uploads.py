"""Uploading a model: every step twice, broken off, at once, wrong, and by somebody else."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from runflow.master_key import MasterKey
from runflow.models import parts
from runflow.models.uploads import ModelUploads, sweep_model_uploads
from runflow.settings import Settings
from runflow.storage.choice import open_storage
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.application import MakeKey
from tests.support.model_uploads import accepting, begin, content, declaration, send, upload
from tests.support.poisoned import poisoned
from tests.support.s3_fixtures import moto_settings

CHUNK = 64 * 1024


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("parts", "schemas"):
        monkeypatch.setattr(f"runflow.models.{module}.CHUNK_BYTES", CHUNK)


@pytest.fixture
async def key(make_key: MakeKey) -> str:
    return await make_key()


@pytest.fixture
async def caller(services: Services, key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with accepting(services, key) as client:
        yield client


async def who(services: Services, key: str) -> Principal:
    found = await services.authenticator.principal(key)
    assert found is not None
    return found


async def keys_below(services: Services, prefix: str) -> list[str]:
    return [key async for key in services.storage.list(prefix)]


async def test_a_model_is_uploaded_once(services: Services, caller: httpx.AsyncClient, key: str) -> None:
    data = content(2.5)
    model = await upload(caller, data)
    assert (model["sha256"], model["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    again = await caller.post("/v1/model-uploads", json=declaration(data))
    assert (again.status_code, again.json()) == (200, model)
    org = (await who(services, key)).org_id
    (stored,) = await keys_below(services, f"models/{org}")
    assert b"".join([piece async for piece in await services.storage.open(stored)]) == data
    listed = (await caller.get("/v1/models")).json()["items"]
    assert listed == [model]


async def test_a_connection_that_breaks_in_the_commit_takes_no_bytes_from_the_model(
    services: Services, caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(1.5, 4)
    insert = ModelUploads._insert

    async def committed(*arguments: Any) -> Any:
        await insert(*arguments)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    session = await begin(caller, data)
    for start in range(0, len(data), CHUNK):
        await send(caller, session["id"], data, start)
    with monkeypatch.context() as broken:
        broken.setattr(ModelUploads, "_insert", committed)
        assert (await caller.post(f"/v1/model-uploads/{session['id']}/confirmations")).status_code >= 500
    model = (await caller.post(f"/v1/model-uploads/{session['id']}/confirmations")).json()
    (stored,) = await keys_below(services, f"models/{model['org_id']}")
    assert b"".join([piece async for piece in await services.storage.open(stored)]) == data


async def test_lookups_tell_what_is_there_and_how_much_of_the_rest(caller: httpx.AsyncClient) -> None:
    whole, half, none = content(1, 1), content(2, 2), content(1, 3)
    model = await upload(caller, whole)
    session = await begin(caller, half)
    await send(caller, session["id"], half, 0)
    wanted = [{name: declaration(data)[name] for name in ("sha256", "size_bytes")} for data in (whole, half, none)]
    answer = (await caller.post("/v1/model-lookups", json={"items": wanted})).json()
    assert answer["accepts_uploads"] is True
    assert [(row["model_id"], row["received_bytes"]) for row in answer["items"]] == [
        (model["id"], CHUNK),
        (None, CHUNK),
        (None, 0),
    ]


async def test_an_upload_goes_on_where_it_was_broken_off(caller: httpx.AsyncClient) -> None:
    data = content(3.2)
    session = await begin(caller, data)
    await send(caller, session["id"], data, 0)

    headers = {"Content-Range": f"bytes {CHUNK}-{2 * CHUNK - 1}/{len(data)}"}
    path = f"/v1/model-uploads/{session['id']}/chunks"
    assert (await caller.put(path, content=data[CHUNK : CHUNK + 1000], headers=headers)).status_code == 422
    assert (await caller.get(f"/v1/model-uploads/{session['id']}")).json()["offset"] == CHUNK
    resumed = await begin(caller, data)
    assert (resumed["id"], resumed["offset"]) == (session["id"], CHUNK)
    assert (await upload(caller, data))["size_bytes"] == len(data)


async def test_a_chunk_may_come_again_and_at_the_same_time(services: Services, caller: httpx.AsyncClient) -> None:
    data = content(2.5)
    session = await begin(caller, data)
    answers = await asyncio.gather(*(send(caller, session["id"], data, 0) for _ in range(4)))
    assert [answer.json()["offset"] for answer in answers] == [CHUNK] * 4
    await send(caller, session["id"], data, CHUNK)
    assert (await send(caller, session["id"], data, 0)).json()["offset"] == 2 * CHUNK
    assert (await send(caller, session["id"], data, 2 * CHUNK)).json()["offset"] == len(data)
    path = f"/v1/model-uploads/{session['id']}/confirmations"
    answers = await asyncio.gather(*(caller.post(path) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert (await caller.post(path)).status_code == 201
    assert await keys_below(services, f"model-uploads/{session['id']}") == []


async def test_a_chunk_behind_a_gap_is_told_where_to_go_on(caller: httpx.AsyncClient) -> None:
    data = content(3)
    session = await begin(caller, data)
    answer = await send(caller, session["id"], data, CHUNK)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "0")
    answer = await caller.post(f"/v1/model-uploads/{session['id']}/confirmations")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "0")


@pytest.mark.parametrize(
    ("content_range", "status"),
    [
        (None, 400),
        ("bytes */100", 400),
        (f"bytes 0-{CHUNK - 1}/7", 422),
        (f"bytes 1-{CHUNK}/{2 * CHUNK}", 422),
        (f"bytes 0-{CHUNK - 2}/{2 * CHUNK}", 422),
        (f"bytes {9 * CHUNK}-{10 * CHUNK - 1}/{2 * CHUNK}", 422),
        (f"bytes 0-{CHUNK - 1}/{2 * CHUNK}", 422),
    ],
)
async def test_what_is_no_chunk_is_refused(caller: httpx.AsyncClient, content_range: str | None, status: int) -> None:
    session = await begin(caller, content(2))
    headers = {"Content-Range": content_range} if content_range else {}
    answer = await caller.put(f"/v1/model-uploads/{session['id']}/chunks", content=b"short", headers=headers)
    assert answer.status_code == status
    too_much = await caller.put(
        f"/v1/model-uploads/{session['id']}/chunks",
        content=b"x" * (CHUNK + 1),
        headers={"Content-Range": f"bytes 0-{CHUNK - 1}/{2 * CHUNK}"},
    )
    assert too_much.status_code == 413
    assert (await caller.get(f"/v1/model-uploads/{session['id']}")).json()["offset"] == 0


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "of-other-content"}], ids=["plain", "repeatable"])
async def test_of_other_content_nothing_stays(
    services: Services, caller: httpx.AsyncClient, key: str, headers: dict[str, str]
) -> None:
    data = content(2, 1)
    session = await begin(caller, data)
    other = content(2, 2)
    for start in (0, CHUNK):
        await send(caller, session["id"], other, start)
    answer = await caller.post(f"/v1/model-uploads/{session['id']}/confirmations", headers=headers)
    assert answer.status_code == 422
    assert hashlib.sha256(other).hexdigest() in answer.json()["message"]
    assert (await caller.get(f"/v1/model-uploads/{session['id']}")).status_code == 404
    assert await keys_below(services, f"model-uploads/{session['id']}") == []
    assert await keys_below(services, f"models/{(await who(services, key)).org_id}") == []
    assert (await upload(caller, data))["size_bytes"] == len(data)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "of-a-lost-part"}], ids=["plain", "repeatable"])
async def test_a_part_that_storage_lost_is_sent_again(
    services: Services, caller: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    data = content(3, 4)
    session = await begin(caller, data)
    for start in range(0, len(data), CHUNK):
        await send(caller, session["id"], data, start)
    await services.storage.delete([parts.part_key(session["id"], CHUNK)])
    answer = await caller.post(f"/v1/model-uploads/{session['id']}/confirmations", headers=headers)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, str(CHUNK))
    assert (await caller.get(f"/v1/model-uploads/{session['id']}")).json()["offset"] == CHUNK
    await upload(caller, data)


async def test_a_foreign_upload_and_model_do_not_exist(
    services: Services, caller: httpx.AsyncClient, make_key: MakeKey
) -> None:
    data = content(1)
    model, session = await upload(caller, data), await begin(caller, content(2))
    async with accepting(services, await make_key()) as other:
        path = f"/v1/model-uploads/{session['id']}"
        answers = [
            await other.get(path),
            await send(other, session["id"], content(2), 0),
            await other.post(f"{path}/confirmations"),
            await other.get(f"/v1/models/{model['id']}"),
            await other.delete(f"/v1/models/{model['id']}"),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5
        assert (await other.get("/v1/models")).json()["items"] == []
        mine = await upload(other, data)
    assert mine["id"] != model["id"]


async def test_a_server_takes_none_unless_told_to(services: Services, key: str, caller: httpx.AsyncClient) -> None:
    session = await begin(caller, content(1))
    async with accepting(services, key, settings={"accept_models": False}) as client:
        answers = [
            await client.post("/v1/model-uploads", json=declaration(content(1))),
            await client.get(f"/v1/model-uploads/{session['id']}"),
            await send(client, session["id"], content(1), 0),
            await client.post(f"/v1/model-uploads/{session['id']}/confirmations"),
        ]
        lookup = await client.post("/v1/model-lookups", json={"items": []})
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "MODEL_UPLOADS_DISABLED")] * 4
    assert lookup.json()["accepts_uploads"] is False


async def test_a_model_over_the_limit_is_refused(services: Services, key: str) -> None:
    async with accepting(services, key, settings={"max_model_bytes": 100}) as client:
        answer = await client.post("/v1/model-uploads", json=declaration(content(1)))
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "size_bytes"])


async def test_a_deleted_model_is_gone_with_its_bytes(services: Services, caller: httpx.AsyncClient, key: str) -> None:
    model = await upload(caller, content(1))
    assert (await caller.delete(f"/v1/models/{model['id']}")).status_code == 204
    assert (await caller.get(f"/v1/models/{model['id']}")).status_code == 404
    assert await keys_below(services, f"models/{(await who(services, key)).org_id}") == []


async def test_stale_sessions_are_swept_and_models_stay(
    services: Services, caller: httpx.AsyncClient, key: str
) -> None:
    data = content(2)
    model = await upload(caller, data)
    session = await begin(caller, content(2, 7))
    await send(caller, session["id"], content(2, 7), 0)
    org = (await who(services, key)).org_id
    left_over = parts.whole_key(org, declaration(content(2, 7))["sha256"], session["id"])
    await services.storage.put(left_over, b"half", limit=10)
    async with services.db.system() as transaction:
        await transaction.run("UPDATE model_uploads SET updated_at = now() - interval '8 days'")
    while await sweep_model_uploads(services):
        pass
    assert (await caller.get(f"/v1/model-uploads/{session['id']}")).status_code == 404
    assert await keys_below(services, f"model-uploads/{session['id']}") == []
    assert len(await keys_below(services, f"models/{org}")) == 1
    assert (await caller.get(f"/v1/models/{model['id']}")).status_code == 200


async def test_a_session_whose_parts_stay_keeps_no_other(services: Services, caller: httpx.AsyncClient) -> None:
    sessions = [await begin(caller, content(2, 11 + number)) for number in range(2)]
    async with services.db.system() as transaction:
        await transaction.run("UPDATE model_uploads SET updated_at = now() - interval '8 days'")
    while await sweep_model_uploads(poisoned(services, sessions[0]["id"])):
        pass
    answers = [await caller.get(f"/v1/model-uploads/{session['id']}") for session in sessions]
    assert [answer.status_code for answer in answers] == [200, 404]


async def test_the_same_upload_in_a_bucket(
    services: Services, key: str, s3_endpoint: str, master_key: MasterKey, home: Path
) -> None:
    data = content(2.5)
    storage = await open_storage(Settings(home=home, **moto_settings(s3_endpoint)), master_key)
    try:
        async with accepting(services, key, storage=storage) as client:
            model = await upload(client, data)
    finally:
        await storage.close()
    assert model["sha256"] == hashlib.sha256(data).hexdigest()
