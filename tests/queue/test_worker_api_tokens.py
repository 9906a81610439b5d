"""A lease belongs to the token of its worker: knowing ids is not enough to speak for it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runflow.accounts.keys import queries as key_queries
from runflow.accounts.keys import service as keys
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import open_client
from tests.support.deployed import Dispatch, Worker


@pytest.fixture
async def stranger(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with another worker token."""
    async with services.db.system() as transaction:
        _, token = await keys.create_worker_token(transaction, "stranger")
    async with open_client(services, token) as http:
        yield http


def calls(lease: dict[str, Any]) -> dict[str, dict[str, Any]]:
    file = {"ordinal": 0, "filename": "a.png", "content_type": "image/png", "size_bytes": 3}
    event = {"number": 1, "type": "log", "at": "2026-01-01T00:00:00Z", "data": {"message": "stolen"}}
    path = f"/v1/worker/leases/{lease['id']}"
    return {
        f"{path}/heartbeats": {"events": [event]},
        f"{path}/uploads": {"files": [file]},
        f"{path}/completions": {"result": "failed", "next": {"warm": []}},
    }


@pytest.mark.parametrize("query", ["", "?x=1"], ids=["hot", "plain"])
async def test_another_token_with_all_ids_can_do_nothing(
    client: httpx.AsyncClient, worker: Worker, stranger: httpx.AsyncClient, dispatch: Dispatch, query: str
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    assert (await worker.heartbeat(lease)).status_code == 200
    for path, body in calls(lease).items():
        answer = await stranger.post(path + query, json={**worker.me, **body})
        assert (answer.status_code, answer.json()["code"]) == (404, "LEASE_NOT_FOUND"), path
    asked = await stranger.post(f"/v1/worker/leases{query}", json={**worker.me, "wait_seconds": 0})
    assert (asked.status_code, asked.json()["code"]) == (409, "CONFLICT")
    registered = {"protocol_version": 1, "name": worker.name, "instance": str(worker.instance), "status": "ready"}
    assert (await stranger.post("/v1/worker/registrations", json=registered)).status_code == 409
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert read["status_code"] in ("dispatching", "running")
    assert (await client.get(f"/v1/runs/{run['id']}/logs")).json()["items"] == []
    output = await worker.upload(lease)
    assert (await worker.complete(lease, outputs=[output])).json()["status_code"] == "succeeded"
    for path, body in calls(lease).items():
        assert (await stranger.post(path, json={**worker.me, **body})).status_code == 404, "nor afterwards"


async def test_the_same_is_refused_by_another_server_process(
    elsewhere: Services, worker: Worker, stranger: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    async with open_client(elsewhere, stranger.headers["Authorization"].removeprefix("Bearer ")) as http:
        for path, body in calls(lease).items():
            assert (await http.post(path, json={**worker.me, **body})).status_code == 404, path
        asked = await http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})
        assert asked.status_code == 409


async def test_leases_of_a_revoked_token_pass_on_to_nobody(
    services: Services, worker: Worker, stranger: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    """Who takes the name over is a new life of the worker, whatever instance it names."""
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    token = await services.authenticator.worker(worker.http.headers["Authorization"].removeprefix("Bearer "))
    assert token is not None
    async with services.db.system() as transaction:
        await key_queries.revoke_worker_token(transaction, token)
    body = {"protocol_version": 1, "name": worker.name, "status": "ready", "gpu": {"code": worker.gpu}}
    same = await stranger.post("/v1/worker/registrations", json={**body, "instance": str(worker.instance)})
    assert same.status_code == 409, same.text
    other = str(new_id())
    assert (await stranger.post("/v1/worker/registrations", json={**body, "instance": other})).status_code == 201
    for instance in (str(worker.instance), other):
        me = {"protocol_version": 1, "worker_id": worker.worker_id, "instance": instance}
        answer = await stranger.post(f"/v1/worker/leases/{lease['id']}/completions", json={**me, "result": "failed"})
        assert answer.status_code in (404, 409), answer.text
