"""What claims keep: a lane has the priority of its first run, whoever does what; who waited saved up a bounded time."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue import queries
from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.queue_records import expire


@dataclass(frozen=True, slots=True)
class Kept:
    """What the lane says, and what is so."""

    priority: int
    first: int | None
    depth: int
    queued: int


async def kept(services: Services, run: dict[str, Any]) -> int:
    """Return the priority that the run's lane has, once it was seen to be that of its first run."""
    async with services.db.system() as transaction:
        statement = """
            SELECT l.priority, l.depth, count(q.id) AS queued, max(q.priority) AS first
            FROM runs r JOIN lanes l ON l.id = r.lane_id
            LEFT JOIN runs q ON q.lane_id = l.id AND q.status_code = 'queued'
            WHERE r.id = %(id)s GROUP BY l.id
        """
        row = await transaction.one(statement, {"id": run["id"]}, row=Kept)
    assert (row.priority, row.depth) == (row.first or 0, row.queued)
    return row.priority


async def test_the_higher_priority_is_first_then_who_came_first(dispatch: Dispatch, worker: Worker) -> None:
    given = [0, -3, 5, 10, 5, 0]
    runs = [await dispatch(priority=one) for one in given]
    assert [run["priority"] for run in runs] == given
    leases = [await worker.lease() for _ in given]
    assert [lease["run_id"] for lease in leases if lease] == [runs[at]["id"] for at in (3, 2, 4, 0, 5, 1)]


async def test_a_lane_has_the_priority_of_its_first_run(
    services: Services, client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    low = await dispatch(priority=-4)
    assert await kept(services, low) == -4
    urgent, plain = await dispatch(priority=7), await dispatch()
    assert await kept(services, low) == 7
    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == urgent["id"]
    assert await kept(services, low) == 0
    assert (await client.post(f"/v1/runs/{plain['id']}/cancellation")).status_code == 201
    assert await kept(services, low) == -4
    assert (await worker.heartbeat(lease)).status_code == 200
    assert (await worker.fail(lease, "ENGINE_CRASHED", retryable=True)).status_code == 200
    assert await kept(services, low) == 7, "it came back"
    again = await worker.lease()
    assert again is not None and await kept(services, low) == -4
    await expire(services, again)
    await Sweeper(services).sweep_offers()
    assert await kept(services, low) == 7, "its offer lapsed"
    for run in (urgent, low):
        assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    assert await kept(services, low) == 0


async def test_a_cancelled_run_that_was_claimed_leaves_the_priority_of_those_that_wait(
    services: Services, client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    urgent, waiting = await dispatch(priority=9), await dispatch(priority=2)
    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == urgent["id"]
    await client.post(f"/v1/runs/{urgent['id']}/cancellation")
    assert await kept(services, waiting) == 2


@pytest.mark.parametrize("seed", range(3))
async def test_it_holds_with_everything_at_once(
    services: Services,
    client: httpx.AsyncClient,
    dispatch: Dispatch,
    make_worker: MakeWorker,
    workflow: Deployed,
    seed: int,
) -> None:
    priorities = [(seed * 7 + at * 5) % 21 - 10 for at in range(24)]
    runs = [await dispatch(priority=one) for one in priorities]
    workers = [await make_worker(workflow.gpu) for _ in range(4)]
    cancelled = [client.post(f"/v1/runs/{run['id']}/cancellation") for run in runs[::3]]
    entered = [dispatch(priority=one) for one in priorities[:8]]
    leases, *_ = await asyncio.gather(
        asyncio.gather(*(worker.lease() for worker in workers for _ in range(4))),
        asyncio.gather(*cancelled),
        asyncio.gather(*entered),
    )
    await kept(services, runs[0])
    held = [
        (worker, lease)
        for worker, lease in zip([one for one in workers for _ in range(4)], leases, strict=True)
        if lease
    ]
    await asyncio.gather(*(worker.heartbeat(lease) for worker, lease in held))
    await asyncio.gather(
        *(worker.fail(lease, "ENGINE_CRASHED", retryable=True) for worker, lease in held),
        *(worker.lease() for worker in workers),
    )
    await kept(services, runs[0])


async def test_who_could_not_be_served_is_taken_to_have_had_something(
    services: Services, dispatch: Dispatch, worker: Worker, workflow: Deployed
) -> None:
    had = []
    for least in (0.0, 5000.0, 10.0):
        run = await dispatch()
        async with services.db.system() as transaction:
            lane = await transaction.one_value("SELECT lane_id FROM runs WHERE id = %(id)s", {"id": run["id"]}, of=UUID)
            claimed = await queries.claim(
                transaction,
                lane=lane,
                lease=new_id(),
                worker=UUID(worker.worker_id),
                instance=worker.instance,
                gpu_code=workflow.gpu,
                memory_gb=0,
                offer_seconds=5.0,
                loads=False,
                most_running=None,
                least=least,
            )
        row = await claimed.fetchone()
        assert row is not None
        had.append(row.virtual_time)
    assert had[0] < 5000 and had[1:] == [5001.0, 5002.0], "a run of a lane that has completed none counts a second"


async def test_a_claim_of_a_gpu_that_is_too_small_finds_nothing(
    services: Services, dispatch: Dispatch, worker: Worker, workflow: Deployed
) -> None:
    run = await dispatch()
    found = []
    async with services.db.system() as transaction:
        lane = await transaction.one_value("SELECT lane_id FROM runs WHERE id = %(id)s", {"id": run["id"]}, of=UUID)
        await transaction.run("UPDATE lanes SET out_of_memory_gb = 24 WHERE id = %(id)s", {"id": lane})
    for memory_gb in (24, 25):
        async with services.db.system() as transaction:
            claimed = await queries.claim(
                transaction,
                lane=lane,
                lease=new_id(),
                worker=UUID(worker.worker_id),
                instance=worker.instance,
                gpu_code=workflow.gpu,
                memory_gb=memory_gb,
                offer_seconds=5.0,
                loads=False,
                most_running=None,
                least=0.0,
            )
        found.append(await claimed.fetchone())
    assert found[0] is None, "whatever its process remembers"
    assert found[1] is not None and found[1].least_gb == 25
