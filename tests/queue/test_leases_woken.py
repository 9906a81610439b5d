"""No run is missed that comes, or comes back, while a worker's wait is being set up: nobody here looks by himself."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from runflow.queue import lane_queries, queries, sweep_queries
from runflow.queue.board import Board
from runflow.queue.eligibility import EligibleLanes
from runflow.queue.sweeper import Sweeper
from runflow.queue.worker_api import WorkerApi
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def only_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runflow.queue.leases.LOOK_AGAIN_SECONDS", 3600.0)
    monkeypatch.setattr("runflow.queue.board.READ_AGAIN_SECONDS", 3600.0)
    monkeypatch.setattr("runflow.queue.board.MOST_READ_AGAIN_SECONDS", 3600.0)


def heard_looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows by each look from now on that finds nothing."""
    looks: list[None] = []
    looked = Board.looked

    def spied(board: Board) -> None:
        looks.append(None)
        looked(board)

    monkeypatch.setattr(Board, "looked", spied)
    return looks


STEPS: dict[str, tuple[Any, str, bool]] = {
    "the worker is read": (WorkerApi, "_seen", False),
    "the wait begins": (Board, "asks", False),
    "the lanes begin to be read": (lane_queries, "waiting", False),
    "the lanes were read": (lane_queries, "waiting", True),
    "the lanes are known": (Board, "refresh", True),
    "the choice is prepared": (EligibleLanes, "prepare", True),
    "nothing was found": (Board, "looked", False),
}
"""Where a run comes in: in which function's call, before it or after it."""


@pytest.mark.parametrize("step", STEPS)
async def test_a_run_that_comes_while(
    services: Services, worker: Worker, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner, name, after = STEPS[step]
    real = getattr(owner, name)
    runs: list[str] = []

    async def come() -> None:
        if not runs:
            runs.append("")  # only once
            runs[0] = (await dispatch())["id"]

    async def spied(*given: Any, **named: Any) -> Any:
        if not after:
            await come()
        found = await real(*given, **named)
        if after:
            await come()
        return found

    def spied_at_once(*given: Any, **named: Any) -> Any:
        if not runs:
            sent.append(asyncio.create_task(come()))
        return real(*given, **named)

    sent: list[asyncio.Task[None]] = []
    monkeypatch.setattr(owner, name, spied if asyncio.iscoroutinefunction(real) else spied_at_once)
    services.hub.publish("lanes")  # there is something to read
    async with asyncio.timeout(25):
        lease = await worker.lease(30)
        await asyncio.gather(*sent)
    assert lease is not None and lease["run_id"] == runs[0]


async def test_a_run_whose_claim_broke_is_told_to_who_found_it_taken(
    make_worker: MakeWorker,
    workflow: Deployed,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = [await make_worker(workflow.gpu) for _ in range(2)]
    claim, under_way, go = queries.claim, asyncio.Event(), asyncio.Event()

    async def breaking(transaction: Any, **named: Any) -> Any:
        if str(named["worker"]) == first.worker_id:
            await claim(transaction, **named)
            await transaction.one_value("SELECT 1", {}, of=int)  # so that it has locked the run
            under_way.set()
            await go.wait()
            raise RuntimeError("it broke")
        return await claim(transaction, **named)

    monkeypatch.setattr(queries, "claim", breaking)
    run = await dispatch()
    ask = {**first.me, "wait_seconds": 30}
    lost = asyncio.create_task(first.http.post("/v1/worker/leases", json=ask))
    await under_way.wait()
    looks = heard_looks(monkeypatch)
    waiting = asyncio.create_task(second.lease(30))
    await until(lambda: looks)
    assert not waiting.done()
    go.set()
    assert (await lost).status_code == 500
    async with asyncio.timeout(25):
        lease = await waiting
    assert lease is not None and lease["run_id"] == run["id"]


async def test_a_run_that_a_claim_passed_over_because_the_sweeper_had_it_is_told_to_who_waits(
    services: Services, worker: Worker, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await dispatch()
    doubting, locked, go = sweep_queries.doubt_unfinished, asyncio.Event(), asyncio.Event()

    async def slow(transaction: Any, limit: int) -> int:
        found = await doubting(transaction, limit)
        if not locked.is_set():
            locked.set()
            await go.wait()
        return found

    monkeypatch.setattr(sweep_queries, "doubt_unfinished", slow)
    looks = heard_looks(monkeypatch)
    sweeping = asyncio.create_task(Sweeper(services).doubt_after_a_crash())
    await locked.wait()
    services.hub.publish("lanes")
    waiting = asyncio.create_task(worker.lease(30))
    await until(lambda: looks)
    go.set()
    async with asyncio.timeout(25):
        lease = await waiting
    assert lease is not None and lease["run_id"] == run["id"]
    await sweeping


KEPT = {
    "draining": "UPDATE workers SET draining = true WHERE id = %(worker)s",
    "paused": "UPDATE workers SET paused_until = now() + interval '1 hour' WHERE id = %(worker)s",
    "refused": """
        INSERT INTO lane_refusals (worker_id, lane_id, message)
        SELECT %(worker)s, lane_id, 'It is not there.' FROM runs WHERE id = %(run)s
    """,
}


@pytest.mark.parametrize("why", KEPT)
async def test_a_run_that_was_hidden_by_workers_that_it_is_kept_from_is_told_to_who_waits(
    services: Services,
    make_worker: MakeWorker,
    workflow: Deployed,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    *kept, able = [await make_worker(workflow.gpu) for _ in range(3)]
    run = await dispatch()
    async with services.db.system() as transaction:
        for one in kept:
            values = {"worker": UUID(one.worker_id), "run": UUID(run["id"])}
            await transaction.run(KEPT[why], {name: values[name] for name in values if f"%({name})s" in KEPT[why]})
    services.hub.publish("lanes")  # so that nobody takes it from the only lane without a look at all
    claim, under_way, go = queries.claim, asyncio.Event(), asyncio.Event()
    claims: list[str] = []

    async def slow(transaction: Any, **named: Any) -> Any:
        claims.append(str(named["worker"]))
        if len(claims) == 1:
            under_way.set()
            await go.wait()
        return await claim(transaction, **named)

    monkeypatch.setattr(queries, "claim", slow)
    looks = heard_looks(monkeypatch)
    waiting = [asyncio.create_task(kept[0].lease(30))]
    await under_way.wait()
    waiting.append(asyncio.create_task(kept[1].lease(30)))
    await until(lambda: looks)
    ready = asyncio.create_task(able.lease(30))
    await until(lambda: len(looks) > 1)
    go.set()
    async with asyncio.timeout(25):
        lease = await ready
    assert lease is not None and lease["run_id"] == run["id"]
    for poll in waiting:
        poll.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert all(claims.count(one.worker_id) <= 1 for one in kept), "none of them tries again and again"


@pytest.mark.parametrize("why", KEPT)
async def test_workers_that_a_run_is_kept_from_do_not_wake_each_other_forever(
    services: Services,
    make_worker: MakeWorker,
    workflow: Deployed,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    kept = [await make_worker(workflow.gpu) for _ in range(2)]
    run = await dispatch()
    async with services.db.system() as transaction:
        for one in kept:
            values = {"worker": UUID(one.worker_id), "run": UUID(run["id"])}
            await transaction.run(KEPT[why], {name: values[name] for name in values if f"%({name})s" in KEPT[why]})
    claim = queries.claim
    claims: list[str] = []

    async def spied(transaction: Any, **named: Any) -> Any:
        claims.append(str(named["worker"]))
        return await claim(transaction, **named)

    monkeypatch.setattr(queries, "claim", spied)
    services.hub.publish("lanes")
    waiting = [asyncio.create_task(one.lease(30)) for one in kept]
    await until(lambda: len(set(claims)) == 2)
    for _ in range(5):
        services.hub.publish("lanes")
        await (await make_worker("ANOTHER")).lease()
    assert sorted(claims) == sorted(one.worker_id for one in kept)
    able = await make_worker(workflow.gpu)
    lease = await able.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
