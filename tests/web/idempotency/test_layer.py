"""A POST with an Idempotency-Key happens once, whoever repeats it, wherever, and whatever dies in between."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import URL

from runflow import errors
from runflow.db.unit_of_work import current_unit
from runflow.ids import new_id
from runflow.web.idempotency import sweep_idempotency_keys
from runflow.web.services import Services
from runflow.workflows import create
from tests.support.application import MakeKey, new_org, open_client
from tests.support.deployed import PROMPT, Deployed, Worker

WORKFLOWS = "/v1/comfyui-workflows"


def key(value: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": value or new_id().hex}


def body(name: str = "Portrait", **more: Any) -> dict[str, Any]:
    """A workflow for a GPU that nobody has: its runs are left to the test that dispatched them."""
    gpu = {"gpu_mode": "explicit", "gpu_explicit_models": ["GPU-of-nobody"]}
    return {"name": name, "workflow_json": PROMPT, **gpu, **more}


async def count(client: httpx.AsyncClient, path: str = WORKFLOWS) -> int:
    return len((await client.get(path)).json()["items"])


async def test_the_first_answer_again(client: httpx.AsyncClient) -> None:
    header = key()
    first = await client.post(WORKFLOWS, json=body(), headers=header)
    again = await client.post(WORKFLOWS, json=body(), headers=header)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "application/json"
    assert again.headers["Runflow-Request-Id"] != first.headers["Runflow-Request-Id"]
    assert await count(client) == 1


async def test_another_body_is_a_conflict(client: httpx.AsyncClient) -> None:
    header = key()
    assert (await client.post(WORKFLOWS, json=body(), headers=header)).status_code == 201
    answer = await client.post(WORKFLOWS, json=body("Other"), headers=header)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert "Retry-After" not in answer.headers
    assert await count(client) == 1


async def test_another_address_of_the_same_route_is_a_conflict(client: httpx.AsyncClient, owner_slug: str) -> None:
    """A run of one workflow is never the answer to a dispatch of another."""
    header = key()
    for name in ("one", "two"):
        assert (await client.post(WORKFLOWS, json=body(name, slug=name))).status_code == 201
    run = {"input": {"prompt": "an otter"}}
    first = await client.post(f"{WORKFLOWS}/{owner_slug}/one/runs", json=run, headers=header)
    other = await client.post(f"{WORKFLOWS}/{owner_slug}/two/runs", json=run, headers=header)
    assert (first.status_code, other.status_code) == (201, 409)


async def test_without_the_header_a_repetition_is_a_second_one(client: httpx.AsyncClient) -> None:
    for slug in ("one", "two"):
        assert (await client.post(WORKFLOWS, json=body(slug=slug))).status_code == 201
    assert await count(client) == 2


async def test_other_organizations_and_other_routes_have_keys_of_their_own(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, owner_slug: str
) -> None:
    header = key()
    mine = await client.post(WORKFLOWS, json=body(), headers=header)
    theirs = await other_client.post(WORKFLOWS, json=body(), headers=header)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    run = {"input": {"prompt": "an otter"}}
    dispatched = await client.post(f"{WORKFLOWS}/{mine.json()['path']}/runs", json=run, headers=header)
    assert dispatched.status_code == 201 and "Idempotency-Replayed" not in dispatched.headers


async def test_two_keys_of_one_organization_share_its_keys_but_not_their_scopes(
    services: Services, make_key: MakeKey
) -> None:
    org = await new_org(services)
    header = key()
    async with (
        open_client(services, await make_key(org=org)) as one,
        open_client(services, await make_key(org=org)) as two,
    ):
        first = await one.post(WORKFLOWS, json=body(), headers=header)
        again = await two.post(WORKFLOWS, json=body(), headers=header)
    assert again.content == first.content
    async with open_client(services, await make_key(scopes=("runs:read",), org=org)) as weak:
        refused = await weak.post(WORKFLOWS, json=body(), headers=header)
    assert refused.status_code == 403
    async with open_client(services, None) as anonymous:
        assert (await anonymous.post(WORKFLOWS, json=body(), headers=header)).status_code == 401


async def test_a_refused_request_leaves_nothing_and_may_be_corrected(client: httpx.AsyncClient) -> None:
    header = key()
    assert (await client.post(WORKFLOWS, json={"name": "x"}, headers=header)).status_code == 422
    assert (await client.post(WORKFLOWS, content=b"{", headers=header)).json()["code"] == "INVALID_JSON"
    answer = await client.post(WORKFLOWS, json=body(), headers=header)
    assert answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "\u00e9", "a\x7f"])
async def test_a_bad_key_is_refused_before_anything_happens(client: httpx.AsyncClient, value: str) -> None:
    headers = [(b"Idempotency-Key", value.encode("latin-1"))]
    answer = await client.post(WORKFLOWS, json=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert await count(client) == 0


@pytest.mark.parametrize("value", ["x", "x" * 255, "with spaces ~!"])
async def test_any_printable_key_of_up_to_255_characters_will_do(client: httpx.AsyncClient, value: str) -> None:
    assert (await client.post(WORKFLOWS, json=body(), headers=key(value))).status_code == 201


async def test_many_at_once_on_two_processes_make_one(
    services: Services, elsewhere: Services, make_key: MakeKey
) -> None:
    secret = await make_key()
    header = key()
    async with open_client(services, secret) as here, open_client(elsewhere, secret) as there:

        async def send(client: httpx.AsyncClient) -> httpx.Response:
            while True:
                answer = await client.post(WORKFLOWS, json=body(), headers=header)
                if answer.status_code != 409:
                    return answer
                assert answer.json()["code"] == "CONFLICT" and answer.headers["Retry-After"] == "1"
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(send(client) for client in (here, there) for _ in range(6)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
        assert await count(here) == 1


async def test_while_the_first_one_runs_a_second_one_is_told_to_wait(
    services: Services, elsewhere: Services, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await make_key()
    header = key()
    inside, go_on = asyncio.Event(), asyncio.Event()
    real = create.create

    async def slow(*arguments: Any, **more: Any) -> Any:
        made = await real(*arguments, **more)
        inside.set()
        await go_on.wait()
        return made

    monkeypatch.setattr(create, "create", slow)
    async with open_client(services, secret) as here, open_client(elsewhere, secret) as there:
        first = asyncio.create_task(here.post(WORKFLOWS, json=body(), headers=header))
        await inside.wait()
        second = await there.post(WORKFLOWS, json=body(), headers=header)
        assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
        assert await count(there) == 0, "nothing is to be seen before the answer is stored with it"
        go_on.set()
        assert (await first).status_code == 201


@pytest.mark.parametrize("fault", [errors.Unavailable(), RuntimeError("unforeseen"), asyncio.CancelledError()])
async def test_a_first_request_that_dies_leaves_nothing_and_blocks_nobody(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    header = key()
    real = create.create

    async def dies(*arguments: Any) -> Any:
        await real(*arguments)
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(create, "create", dies)
        if isinstance(fault, asyncio.CancelledError):
            with pytest.raises(asyncio.CancelledError):
                await client.post(WORKFLOWS, json=body(), headers=header)
        else:
            assert (await client.post(WORKFLOWS, json=body(), headers=header)).status_code >= 500
    assert await count(client) == 0
    answer = await client.post(WORKFLOWS, json=body(), headers=header)
    assert answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers
    assert await count(client) == 1


async def test_an_answer_that_cannot_be_committed_is_not_sent(
    client: httpx.AsyncClient, db_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the route's answer and the commit: nothing is there, and a retry makes it."""
    header = key()
    real = create.create

    async def cut_off(parts: Services, *arguments: Any) -> Any:
        made = await real(parts, *arguments)
        unit = current_unit()
        assert unit is not None
        pid = await unit.transaction.one_value("SELECT pg_backend_pid()", of=int)
        with psycopg.connect(db_url.set(drivername="postgresql").render_as_string(hide_password=False)) as owner:
            owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        return made

    with monkeypatch.context() as patched:
        patched.setattr(create, "create", cut_off)
        answer = await client.post(WORKFLOWS, json=body(), headers=header)
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert await count(client) == 0
    assert (await client.post(WORKFLOWS, json=body(), headers=header)).status_code == 201
    assert await count(client) == 1


async def test_a_dispatch_waits_once_in_its_lane_and_wakes_workers_when_it_is_committed(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker, services: Services
) -> None:
    header, run = key(), {"input": {"prompt": "an otter"}}
    seen: list[int] = []

    def look(_subject: str) -> None:
        seen.append(1 if current_unit() is None else 0)

    services.hub.on("lanes", look)
    waiting = asyncio.create_task(worker.lease(wait=20))
    path = f"/v1/comfyui-workflows/{workflow.path}/runs"
    first = await client.post(path, json=run, headers=header)
    again = await client.post(path, json=run, headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content and again.headers["Idempotency-Replayed"] == "true"
    async with asyncio.timeout(60):
        lease = await waiting
    assert lease is not None and lease["run_id"] == first.json()["id"]
    assert seen and all(seen), "workers are woken after the commit only"
    assert await worker.lease() is None
    assert await count(client, path) == 1


async def test_an_answer_with_a_secret_is_shown_once(client: httpx.AsyncClient) -> None:
    header = key()
    first = await client.post("/v1/api-keys", json={"name": "ci"}, headers=header)
    again = await client.post("/v1/api-keys", json={"name": "ci"}, headers=header)
    assert (first.status_code, again.status_code) == (201, 409)
    assert "secret" in again.json()["message"] and first.json()["key"] not in again.text
    assert len((await client.get("/v1/api-keys?q=name:ci")).json()["items"]) == 1


async def test_no_secret_is_stored(client: httpx.AsyncClient, services: Services) -> None:
    header = key()
    assert (await client.post("/v1/api-keys", json={"name": "ci"}, headers=header)).status_code == 201
    async with services.db.system() as transaction:
        select = "SELECT body FROM idempotency_keys WHERE key = %(key)s"
        assert await transaction.values(select, {"key": header["Idempotency-Key"]}, of=bytes) == [None]


async def test_after_a_day_the_key_is_free_again(client: httpx.AsyncClient, services: Services) -> None:
    old, fresh = key(), key()
    for header in (old, fresh):
        assert (
            await client.post(WORKFLOWS, json=body(slug=f"w-{header['Idempotency-Key']}"), headers=header)
        ).is_success
    age = "UPDATE idempotency_keys SET created_at = now() - interval '24 hours' WHERE key = %(key)s"
    async with services.db.system() as transaction:
        await transaction.run(age, {"key": old["Idempotency-Key"]})
    again = await client.post(WORKFLOWS, json=body("Another"), headers=old)
    assert again.status_code == 201 and "Idempotency-Replayed" not in again.headers
    async with services.db.system() as transaction:
        await transaction.run(age, {"key": old["Idempotency-Key"]})
    assert await sweep_idempotency_keys(services.db) >= 1
    left = "SELECT key FROM idempotency_keys WHERE key IN (%(old)s, %(fresh)s)"
    async with services.db.system() as transaction:
        values = {"old": old["Idempotency-Key"], "fresh": fresh["Idempotency-Key"]}
        assert await transaction.values(left, values, of=str) == [fresh["Idempotency-Key"]]


async def test_a_body_over_the_limit_is_refused_as_ever(client: httpx.AsyncClient) -> None:
    headers = {**key(), "Content-Length": str(10**12)}
    answer = await client.post(WORKFLOWS, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_the_header_means_nothing_where_nothing_is_created(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", WORKFLOWS), ("POST", "/v1/nowhere"), ("POST", "/v1/health")):
        answer = await client.request(method, path, headers=key("\u007f"))
        assert answer.status_code in (200, 404, 405)
