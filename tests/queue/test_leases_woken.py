"""No run is missed that comes, or comes back, while a worker's wait is being set up: nobody here looks by himself."""

import asyncio
from typing import Any

import pytest

from runflow.queue import lane_queries, queries
from runflow.queue.board import Board
from runflow.queue.eligibility import EligibleLanes
from runflow.queue.worker_api import WorkerApi
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def only_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runflow.queue.leases.LOOK_AGAIN_SECONDS", 3600.0)
    monkeypatch.setattr("runflow.queue.board.READ_AGAIN_SECONDS", 3600.0)
    monkeypatch.setattr("runflow.queue.board.MOST_READ_AGAIN_SECONDS", 3600.0)


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

    looks: list[None] = []
    looked = Board.looked

    def spied(board: Board) -> None:
        looks.append(None)
        looked(board)

    monkeypatch.setattr(queries, "claim", breaking)
    run = await dispatch()
    ask = {**first.me, "wait_seconds": 30}
    lost = asyncio.create_task(first.http.post("/v1/worker/leases", json=ask))
    await under_way.wait()
    monkeypatch.setattr(Board, "looked", spied)
    waiting = asyncio.create_task(second.lease(30))
    await until(lambda: looks)
    assert not waiting.done()
    go.set()
    assert (await lost).status_code == 500
    async with asyncio.timeout(25):
        lease = await waiting
    assert lease is not None and lease["run_id"] == run["id"]
