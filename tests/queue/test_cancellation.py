"""Cancelling a run in every state it can be in."""

import asyncio

import httpx
import pytest

from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.queue_records import deliveries, lane_counts

HOOK = "http://127.0.0.1:9/hook"


@pytest.mark.parametrize("path", ["/v1/runs/{}/cancellation", "/v1/admin/runs/{}/cancellation"])
async def test_both_routes_cancel_keep_the_reason_and_note_who_did_it(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, path: str
) -> None:
    run = await dispatch(callback_url=HOOK)
    answer = await client.post(path.format(run["id"]), json={"reason": "Wrong prompt."})
    assert (answer.status_code, answer.json()["status_code"]) == (201, "cancelled")
    assert answer.json()["cancellation_reason"] == "Wrong prompt."
    again = await client.post(path.format(run["id"]), json={"reason": "Another reason."})
    assert (again.status_code, again.json()["cancellation_reason"]) == (200, "Wrong prompt.")
    events = (await client.get("/v1/audit-events", params={"q": "action_code:run.cancelled"})).json()["items"]
    assert [(event["target_id"], event["details"]) for event in events] == [(run["id"], {"reason": "Wrong prompt."})]
    assert len(await deliveries(services, run["id"])) == 1


async def test_an_offered_run_is_stopped_before_its_worker_begins(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["status_code"] == "dispatching"
    assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    assert (await worker.heartbeat(lease)).json()["cancel"] is True
    assert (await worker.complete(lease, "cancelled")).json()["status_code"] == "cancelled"
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_only_the_run_itself_is_stopped(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    await dispatch()
    other = await dispatch()
    leases = [await worker.lease() for _ in range(2)]
    for lease in leases:
        assert lease is not None
        await worker.heartbeat(lease)
    await client.post(f"/v1/runs/{other['id']}/cancellation")
    told = {lease["run_id"]: (await worker.heartbeat(lease)).json()["cancel"] for lease in leases if lease}
    assert [run for run, cancel in told.items() if cancel] == [other["id"]]


async def test_cancellation_and_completion_at_once_leave_one_end(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    for _ in range(6):
        run = await dispatch(callback_url=HOOK)
        lease = await worker.lease()
        assert lease is not None
        output = await worker.upload(lease)
        cancelled, completed = await asyncio.gather(
            client.post(f"/v1/runs/{run['id']}/cancellation"), worker.complete(lease, outputs=[output])
        )
        assert completed.status_code == 200
        read = (await client.get(f"/v1/runs/{run['id']}")).json()
        assert read["status_code"] == ("cancelled" if cancelled.status_code == 201 else "succeeded")
        assert completed.json()["status_code"] == read["status_code"]
        assert bool(read["output"]) is (read["status_code"] == "succeeded")
        assert len(await deliveries(services, run["id"])) == 1
        assert await lane_counts(services, run["id"]) == (0, 0)


@pytest.mark.parametrize("body", [{"reason": "no"}, {"reason": "x" * 501}, {"reason": "a\0bc"}, {"why": "abc"}, []])
async def test_a_malformed_reason_is_refused_and_nothing_is_cancelled(
    client: httpx.AsyncClient, dispatch: Dispatch, body: object
) -> None:
    run = await dispatch()
    answer = await client.post(f"/v1/runs/{run['id']}/cancellation", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["status_code"] == "queued"


async def test_a_foreign_run_cannot_be_cancelled(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch()
    for path in (f"/v1/runs/{run['id']}/cancellation", f"/v1/admin/runs/{run['id']}/cancellation"):
        answer = await other_client.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "RUN_NOT_FOUND")
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["status_code"] == "queued"
