"""The end of a batch: counted in the transactions that end its runs, told exactly once."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from tests.batches.conftest import MakeBatch, finish
from tests.support.deployed import Deployed, MakeWorker, Worker
from tests.support.queue_records import expire, lane_counts

HOOK = "http://127.0.0.1:9/hook"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a batch's end."""

    event_type_code: str
    payload: bytes


async def messages(services: Services, batch: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    async with services.db.system() as transaction:
        statement = """
            SELECT event_type_code, payload FROM deliveries WHERE batch_id = %(id)s AND kind_code = 'callback'
        """
        rows = await transaction.rows(statement, {"id": batch["id"]}, row=Message)
    return [(row.event_type_code, orjson.loads(row.payload)) for row in rows]


def counts(batch: dict[str, Any]) -> tuple[int, ...]:
    return tuple(batch[f"items_{name}"] for name in ("succeeded", "failed", "cancelled"))


@pytest.mark.parametrize(
    ("results", "status"),
    [
        (["succeeded", "succeeded"], "succeeded"),
        (["failed", "succeeded"], "partial_succeeded"),
        (["failed", "failed"], "failed"),
    ],
)
async def test_what_becomes_of_the_items_becomes_of_the_batch(
    client: httpx.AsyncClient,
    services: Services,
    make_batch: MakeBatch,
    worker: Worker,
    results: list[str],
    status: str,
) -> None:
    batch = await make_batch(2, callback_url=HOOK, metadata={"order": 7})
    await finish(worker, results[0])
    between = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert (between["status_code"], between["is_terminal"], between["output"]) == ("running", False, None)
    assert await messages(services, batch) == []
    await finish(worker, results[1])
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert (read["status_code"], read["is_terminal"]) == (status, True)
    assert counts(read) == (results.count("succeeded"), results.count("failed"), 0)
    assert read["duration_ms"] >= 0 and read["started_at"] and read["completed_at"] and read["cost"] == "0.000000"
    assert [item["status_code"] for item in read["items"]] == results
    output = read["output"]
    assert [output[name] for name in ("succeeded", "failed", "cancelled", "total")] == [*counts(read), 2]
    assert [item["status"] for item in output["items"]] == results
    for item in output["items"]:
        if item["status"] == "succeeded":
            assert (await client.get(item["output"]["outputs"][0]["url"])).content == b"png"
        else:
            assert item["error"]["code"] == "EXECUTION_FAILED"
    if status == "failed":
        assert read["failure_code"] == "EXECUTION_FAILED" and "2 of 2 items failed" in read["failure_message"]
    else:
        assert read["failure_code"] is None
    ((event, body),) = await messages(services, batch)
    assert event == body["event"] == f"batch.{status}"
    assert (body["batch_id"], body["status"], body["metadata"]) == (batch["id"], status, {"order": 7})
    assert "run_id" not in body and body["output"]["total"] == 2
    assert body["completed_at"] == read["completed_at"]


async def test_items_that_end_at_once_are_all_counted_and_the_end_is_told_once(
    client: httpx.AsyncClient,
    services: Services,
    workflow: Deployed,
    make_batch: MakeBatch,
    make_worker: MakeWorker,
) -> None:
    batch = await make_batch(24, callback_url=HOOK)
    workers = [await make_worker(workflow.gpu) for _ in range(8)]

    async def serve(worker: Worker) -> None:
        while (lease := await worker.lease()) is not None:
            answer = await worker.fail(lease, "EXECUTION_FAILED")
            assert answer.status_code == 200

    async with asyncio.timeout(60):
        await asyncio.gather(*(serve(worker) for worker in workers))
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert counts(read) == (0, 24, 0) and read["status_code"] == "failed"
    assert [event for event, _ in await messages(services, batch)] == ["batch.failed"]


async def test_a_completion_that_is_repeated_counts_once(
    client: httpx.AsyncClient, make_batch: MakeBatch, worker: Worker
) -> None:
    batch = await make_batch(2)
    lease = await worker.lease()
    assert lease is not None
    output = await worker.upload(lease)
    for _ in range(2):
        assert (await worker.complete(lease, outputs=[output])).status_code == 200
    assert counts((await client.get(f"/v1/batches/{batch['id']}")).json()) == (1, 0, 0)


async def test_a_retry_counts_only_at_its_end_and_a_lost_worker_counts_too(
    client: httpx.AsyncClient, services: Services, make_batch: MakeBatch, worker: Worker
) -> None:
    batch = await make_batch(1, callback_url=HOOK)
    for number in range(3):
        lease = await worker.lease()
        assert lease is not None
        assert counts((await client.get(f"/v1/batches/{batch['id']}")).json()) == (0, 0, 0)
        if number < 2:
            await worker.fail(lease, "ENGINE_CRASHED", retryable=True)
            assert (await client.get(f"/v1/batches/{batch['id']}")).json()["status_code"] == "running"
    assert lease is not None
    await worker.heartbeat(lease)
    await expire(services, lease)
    await Sweeper(services).sweep_leases()
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert (read["status_code"], read["failure_code"]) == ("failed", "WORKER_LOST")
    assert len(await messages(services, batch)) == 1


async def test_cancelling_a_batch_stops_what_has_not_ended(
    client: httpx.AsyncClient, services: Services, make_batch: MakeBatch, worker: Worker
) -> None:
    batch = await make_batch(4, callback_url=HOOK)
    await finish(worker, "succeeded")
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease)
    path = f"/v1/batches/{batch['id']}/cancellation"
    answer = await client.post(path, json={"reason": "The order was withdrawn."})
    assert answer.status_code == 201, answer.text
    read = answer.json()
    assert (read["status_code"], counts(read)) == ("partial_succeeded", (1, 0, 3))
    assert read["cancellation_reason"] == "The order was withdrawn."
    assert (await worker.heartbeat(lease)).json()["cancel"] is True
    assert (await worker.complete(lease, "cancelled", timings={"execute_ms": 5})).json()["status_code"] == "cancelled"
    assert await worker.lease() is None
    assert await lane_counts(services, batch["items"][0]["run_id"]) == (0, 0)
    run = (await client.get(f"/v1/runs/{batch['items'][3]['run_id']}")).json()
    assert (run["status_code"], run["cancellation_reason"]) == ("cancelled", "The order was withdrawn.")
    again = await client.post(path)
    assert (again.status_code, counts(again.json())) == (200, (1, 0, 3))
    assert [event for event, _ in await messages(services, batch)] == ["batch.partial_succeeded"]
    events = (await client.get("/v1/audit-events", params={"q": "action_code:batch.cancelled"})).json()["items"]
    assert [event["target_id"] for event in events] == [batch["id"]]


async def test_a_batch_that_nobody_began_is_cancelled_whole(
    client: httpx.AsyncClient, services: Services, make_batch: MakeBatch
) -> None:
    batch = await make_batch(100, callback_url=HOOK)
    answer = await client.post(f"/v1/batches/{batch['id']}/cancellation")
    assert (answer.status_code, answer.json()["status_code"], counts(answer.json())) == (201, "cancelled", (0, 0, 100))
    ((event, body),) = await messages(services, batch)
    assert event == "batch.cancelled" and body["output"]["cancelled"] == 100


async def test_cancelling_while_workers_end_items_ends_the_batch_once(
    client: httpx.AsyncClient, services: Services, workflow: Deployed, make_batch: MakeBatch, make_worker: MakeWorker
) -> None:
    batch = await make_batch(16, callback_url=HOOK)
    workers = [await make_worker(workflow.gpu) for _ in range(4)]

    async def serve(worker: Worker) -> None:
        while (lease := await worker.lease()) is not None:
            await worker.fail(lease, "EXECUTION_FAILED")

    async with asyncio.timeout(60):
        serving = asyncio.gather(*(serve(worker) for worker in workers))
        path = f"/v1/batches/{batch['id']}/cancellation"
        answers = await asyncio.gather(*(client.post(path) for _ in range(3)))
        await serving
    assert {answer.status_code for answer in answers} <= {200, 201}
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert read["is_terminal"] and sum(counts(read)) == 16
    assert len(await messages(services, batch)) == 1
    assert await lane_counts(services, batch["items"][0]["run_id"]) == (0, 0)
