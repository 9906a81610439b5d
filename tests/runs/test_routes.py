"""One call from input to output: a dispatch that waits for the end of its run."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.web import rate_limits
from runflow.web.services import Services
from tests.support.application import MakeKey, open_client
from tests.support.deployed import Deployed, Dispatch, Worker

BODY = {"input": {"prompt": "an otter"}}


def runs_of(workflow: Deployed, place: str = "comfyui-workflows") -> str:
    return f"/v1/{place}/{workflow.path}/runs"


async def ended(worker: Worker) -> dict[str, Any]:
    """Let the worker do the next run."""
    lease = await worker.lease(wait=20)
    assert lease is not None
    done = await worker.complete(lease, outputs=[await worker.upload(lease)])
    assert done.status_code == 200, done.text
    return lease


@pytest.mark.parametrize("place", ["comfyui-workflows", "models"])
@pytest.mark.parametrize("how", [{"params": {"wait": 60}}, {"headers": {"Prefer": "wait=60"}}])
async def test_the_answer_is_the_ended_run(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker, place: str, how: dict[str, Any]
) -> None:
    answer, lease = await asyncio.gather(client.post(runs_of(workflow, place), json=BODY, **how), ended(worker))
    assert answer.status_code == 201, answer.text
    run = answer.json()
    assert (run["id"], run["status_code"], run["is_terminal"]) == (lease["run_id"], "succeeded", True)
    assert answer.headers["Location"].endswith(f"/v1/runs/{run['id']}")
    (output,) = run["output"]["outputs"]
    assert (await client.get(output["url"])).content == b"png"
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert {**run, "output": None} == {**read, "output": None}


async def test_a_run_that_still_goes_on_is_answered_as_it_stands(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    answer = await client.post(runs_of(workflow), json=BODY, params={"wait": 0.05})
    assert (answer.status_code, answer.json()["status_code"]) == (201, "queued")
    assert answer.json()["waiting_reason"]
    at_once = await client.post(runs_of(workflow), json=BODY)
    assert at_once.headers["Location"].endswith(f"/v1/runs/{at_once.json()['id']}")


async def test_a_failed_run_is_answered_too(client: httpx.AsyncClient, workflow: Deployed, worker: Worker) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.post(runs_of(workflow), json=BODY, params={"wait": 60}))
        lease = await worker.lease(wait=20)
        assert lease is not None
        await worker.fail(lease, "EXECUTION_FAILED")
    assert waiting.result().status_code == 201
    assert waiting.result().json()["error"]["code"] == "EXECUTION_FAILED"


async def test_a_rerun_waits_too(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, workflow: Deployed
) -> None:
    run = await dispatch()
    await ended(worker)
    path = f"/v1/runs/{run['id']}/reruns"
    answer, lease = await asyncio.gather(client.post(path, params={"wait": 60}), ended(worker))
    assert (answer.json()["id"], answer.json()["status_code"]) == (lease["run_id"], "succeeded")


async def test_a_longer_wait_is_cut_and_a_wrong_one_refused(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    answer, _ = await asyncio.gather(client.post(runs_of(workflow), json=BODY, params={"wait": 600}), ended(worker))
    assert answer.json()["is_terminal"]
    assert (await client.get(f"/v1/runs/{answer.json()['id']}", params={"wait": 600})).status_code == 200
    before = len((await client.get("/v1/runs", params={"fields": "id"})).json()["items"])
    for wrong in ("-1", "soon", "nan", ""):
        refused = await client.post(runs_of(workflow), json=BODY, params={"wait": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", "wait"]), wrong
    assert len((await client.get("/v1/runs", params={"fields": "id"})).json()["items"]) == before


async def test_unknown_parameters_are_refused_before_anything_is_queued(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    for path in (runs_of(workflow), f"/v1/comfyui-workflows/{workflow.path}/batches"):
        refused = await client.post(path, json=BODY, params={"waits": 5})
        assert refused.status_code == 422
        assert "no parameter `waits` here; expected one of wait." in refused.json()["message"]
    assert (await client.get("/v1/runs")).json()["items"] == []
    run = await dispatch()
    for path in (f"/v1/runs/{run['id']}", f"/v1/comfyui-workflows/{workflow.id}"):
        refused = await client.get(path, params={"field": "id"})
        assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR")
        assert (await client.get(path, params={"_cache": "1"})).status_code == 200


async def test_who_finds_no_place_to_wait_queues_nothing(
    services: Services, client: httpx.AsyncClient, workflow: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "limits", rate_limits.RateLimits(0, most_waiting=1))
    async with asyncio.TaskGroup() as group:
        holding = group.create_task(client.post(runs_of(workflow), json=BODY, params={"wait": 2}))
        while not (await client.get("/v1/runs")).json()["items"]:
            await asyncio.sleep(0.01)
        refused = await client.post(runs_of(workflow), json=BODY, params={"wait": 60})
        keyed = await client.post(
            runs_of(workflow), json=BODY, params={"wait": 60}, headers={"Idempotency-Key": new_id().hex}
        )
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    # With a key what was created is found again, so it stands, and the caller is told of it.
    assert (keyed.status_code, keyed.json()["status_code"]) == (201, "queued")
    found = {run["id"] for run in (await client.get("/v1/runs")).json()["items"]}
    assert found == {holding.result().json()["id"], keyed.json()["id"]}


async def test_a_repeated_request_waits_for_the_same_run(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    sent: dict[str, Any] = {"json": BODY, "params": {"wait": 60}, "headers": {"Idempotency-Key": new_id().hex}}
    answer, lease = await asyncio.gather(client.post(runs_of(workflow), **sent), ended(worker))
    assert (answer.status_code, answer.json()["status_code"]) == (201, "succeeded")
    again = await client.post(runs_of(workflow), **sent)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert (again.json()["id"], again.json()["status_code"]) == (lease["run_id"], "succeeded")
    assert again.json()["output"]["outputs"]
    assert await worker.lease() is None


async def test_a_batch_answers_when_all_its_items_have_ended(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    path = f"/v1/comfyui-workflows/{workflow.path}/batches"
    body = {"input": [{"prompt": "a"}, {"prompt": "b"}]}

    async def both() -> None:
        for _ in range(2):
            await ended(worker)

    answer, _ = await asyncio.gather(client.post(path, json=body, headers={"Prefer": "wait"}), both())
    batch = answer.json()
    assert (answer.status_code, batch["status_code"], batch["output"]["total"]) == (201, "succeeded", 2)
    assert answer.headers["Location"].endswith(f"/v1/batches/{batch['id']}")


async def test_who_may_dispatch_may_wait_for_this_run_and_read_no_other(
    services: Services, client: httpx.AsyncClient, workflow: Deployed, worker: Worker, make_key: MakeKey
) -> None:
    org = (await client.get("/v1/auth/me")).json()["organization"]["id"]
    async with open_client(services, await make_key(scopes=["runs:create"], org=UUID(org))) as narrow:
        answer, lease = await asyncio.gather(
            narrow.post(runs_of(workflow), json=BODY, params={"wait": 60}), ended(worker)
        )
        assert (answer.json()["id"], answer.json()["status_code"]) == (lease["run_id"], "succeeded")
        assert answer.json()["output"]["outputs"]
        assert (await narrow.get(f"/v1/runs/{answer.json()['id']}")).status_code == 403
