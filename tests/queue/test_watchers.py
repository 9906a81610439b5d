"""Who waits for a run's end sees it as the transaction that ended it left it, and without a look of its own."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.db.transaction import Fetched, Transaction
from runflow.ids import new_id
from runflow.queue.watchers import Watchers
from runflow.runs import queries
from runflow.runs.tables import RunRow
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.waiting import until


def settled(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is signed anew at every read."""
    urls = [output.pop("url") for output in record["output"]["outputs"]] if record["output"] else []
    assert all(urls)
    return record


@pytest.mark.parametrize("result", ["succeeded", "failed"])
async def test_the_waiter_is_shown_what_a_reader_sees_and_reads_nothing(
    services: Services,
    client: httpx.AsyncClient,
    dispatch: Dispatch,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    result: str,
) -> None:
    reads: list[UUID] = []
    by_id = queries.by_id

    async def spied(services: Services, org_id: UUID, run_id: UUID) -> RunRow | None:
        reads.append(run_id)
        return await by_id(services, org_id, run_id)

    monkeypatch.setattr(queries, "by_id", spied)
    run = await dispatch(metadata={"order": 7})
    lease = await worker.lease()
    assert lease is not None
    waiting = asyncio.create_task(client.get(f"/v1/runs/{run['id']}?wait=60"))
    await until(lambda: UUID(run["id"]) in services.part(Watchers))
    outputs = [await worker.upload(lease)]
    if result == "succeeded":
        answer = await worker.complete(lease, outputs=outputs)
    else:
        answer = await worker.fail(lease, "EXECUTION_FAILED")
    assert answer.status_code == 200
    shown = (await waiting).json()
    assert reads == []
    assert shown["status_code"] == result and shown["metadata"] == {"order": 7}
    assert settled(shown) == settled((await client.get(f"/v1/runs/{run['id']}")).json())


async def test_nobody_is_shown_a_run_of_others(other_client: httpx.AsyncClient, dispatch: Dispatch) -> None:
    run = await dispatch()
    assert (await other_client.get(f"/v1/runs/{run['id']}?wait=5")).status_code == 404


async def test_every_watcher_is_told_and_none_is_left_behind(services: Services, dispatch: Dispatch) -> None:
    run_id = UUID((await dispatch())["id"])
    watchers = Watchers(services)

    async def never(_transaction: Transaction, _run_id: UUID) -> Fetched[RunRow]:
        raise AssertionError("somebody else's run")

    with (
        watchers.watching(run_id, queries.read_one) as first,
        watchers.watching(run_id, queries.read_one) as second,
        watchers.watching(new_id(), never),
    ):
        async with services.db.system() as transaction:
            looks = await watchers.look(transaction, run_id)
        assert len(looks) == 1, "however many wait, the run is read once"
        before = [first.row, second.row]
        await watchers.tell(looks)
    assert before == [None, None]
    assert [row.id for row in (first.row, second.row) if row is not None] == [run_id, run_id]
    async with services.db.system() as transaction:
        assert await watchers.look(transaction, run_id) == []
