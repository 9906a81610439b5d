"""A worker that said it could and could not: the run goes back uncounted, and the lane is kept from that worker."""

from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue import completion
from runflow.web.services import Services
from tests.support.able import CLASSES, MakeAble, told
from tests.support.deployed import Dispatch, Worker
from tests.support.queue_records import lane_counts
from tests.support.waiting import until

SAID = 'The node 4 (Anything) needs the model file "x" (ckpt_name), which the engine does not have. Put it there.'


async def could_not(worker: Worker, lease: dict[str, Any], code: str = "MODEL_MISSING", **more: Any) -> str:
    error = {"code": code, "stage": "prepare", "message": SAID, "lacking": True, **more}
    answer = await worker.complete(lease, "failed", error=error)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status_code"])


async def got(worker: Worker) -> dict[str, Any]:
    lease = await worker.lease(wait=20)
    assert lease is not None
    return lease


@pytest.mark.parametrize("code", ["MODEL_MISSING", "NODE_TYPE_MISSING"])
async def test_the_run_waits_for_one_that_has_it(
    client: httpx.AsyncClient, services: Services, able: MakeAble, dispatch: Dispatch, code: str
) -> None:
    first, second = await able(), await able()
    run = await dispatch()
    lease = await got(first)
    await first.heartbeat(lease)
    assert await could_not(first, lease, code) == "queued"
    assert await lane_counts(services, run["id"]) == (1, 0)
    assert await first.lease() is None, "not again"
    await first.register(**told())
    assert await first.lease() is None, "the same abilities change nothing"
    lease = await got(second)
    assert (await second.complete(lease, outputs=[await second.upload(lease)])).status_code == 200
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert read["status_code"] == "succeeded" and len(read["attempts"]) == 1


async def test_when_nobody_is_left_it_waits_and_says_why(
    client: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch
) -> None:
    worker = await able()
    run = await dispatch()
    await could_not(worker, await got(worker))

    async def says_why() -> bool:
        reason = (await client.get(f"/v1/runs/{run['id']}")).json()["waiting_reason"]
        return f"{worker.name} could not run it: {SAID.rstrip('.')}" in str(reason)

    await until(says_why)


async def test_other_abilities_or_another_life_are_tried_again(able: MakeAble, dispatch: Dispatch) -> None:
    worker = await able()
    run = await dispatch()
    await could_not(worker, await got(worker))
    assert await worker.lease() is None
    await worker.register(**told({*CLASSES, "New"}))
    lease = await got(worker)
    assert lease["run_id"] == run["id"]
    await could_not(worker, lease)
    assert await worker.lease() is None
    worker.instance = new_id()
    await worker.register(**told({*CLASSES, "New"}))
    assert (await got(worker))["run_id"] == run["id"]


async def test_what_was_told_anew_meanwhile_is_believed(able: MakeAble, dispatch: Dispatch) -> None:
    worker = await able()
    run = await dispatch()
    lease = await got(worker)
    await worker.register(**told({*CLASSES, "New"}))
    assert await could_not(worker, lease) == "queued"
    assert (await got(worker))["run_id"] == run["id"], "its abilities are newer than that attempt"


@pytest.mark.parametrize(
    "change", [{"lacking": False}, {"code": "WORKFLOW_INVALID"}], ids=["the caller's value", "another failure"]
)
async def test_other_failures_end_the_run_at_once(
    client: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch, change: dict[str, Any]
) -> None:
    worker = await able()
    run = await dispatch()
    assert await could_not(worker, await got(worker), **change) == "failed"
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["failure_message"] == SAID


async def test_a_worker_that_never_said_what_it_can_ends_the_run(worker: Worker, dispatch: Dispatch) -> None:
    await dispatch()
    assert await could_not(worker, await got(worker)) == "failed"


async def test_a_run_does_not_bounce_for_ever(
    able: MakeAble, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "MOST_MISSES", 3)
    worker = await able()
    await dispatch()
    ends = []
    for number in range(4):
        lease = await got(worker)
        if number % 2:  # what is refused at once is never renewed
            await worker.heartbeat(lease)
        ends.append(await could_not(worker, lease))
        await worker.register(**told({*CLASSES, f"New{number}"}))
    assert ends == ["queued", "queued", "queued", "failed"]


async def test_a_cancelled_run_stays_cancelled(client: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch) -> None:
    worker = await able()
    run = await dispatch()
    lease = await got(worker)
    await worker.heartbeat(lease)
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    assert await could_not(worker, lease) == "cancelled"
