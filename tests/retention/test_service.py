"""What is removed when, in a real database with real files; the sweeps are told that it is later than it is."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from runflow.retention import service
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.poisoned import poisoned


async def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


async def all_of(services: Services, what: Any, days: float) -> int:
    """Go on until nothing is left, as the keeper does; the database holds other tests' rows as well."""
    total = 0
    while count := await what(services, await in_days(days)):
        total += count
    return total


async def finished(client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch, **more: Any) -> dict[str, Any]:
    """A run that succeeded with one output and one log line."""
    run = await dispatch(**more)
    lease = await worker.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]
    output = await worker.upload(lease)
    log = {"type": "log", "number": 1, "at": datetime.now(UTC).isoformat(), "data": {"message": "hello"}}
    answer = await worker.complete(lease, outputs=[output], events=[log])
    assert answer.status_code == 200, answer.text
    return dict((await client.get(f"/v1/runs/{run['id']}")).json())


async def count(services: Services, table: str, run_id: str) -> int:
    async with services.db.system() as transaction:
        statement = f"SELECT count(*) FROM {table} WHERE run_id = %(id)s"
        return await transaction.one_value(statement, {"id": run_id}, of=int)


async def objects(services: Services, run_id: str) -> list[str]:
    return [key async for key in services.storage.list(f"runs/{run_id}")]


async def test_outputs_expire_and_the_run_says_so(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run, waiting = await finished(client, worker, dispatch), await dispatch()
    url = run["output"]["outputs"][0]["url"]
    await all_of(services, service.expire_outputs, 29.9)
    assert (await client.get(url)).status_code == 200
    assert await all_of(services, service.expire_outputs, 30.1) >= 1
    after = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (after["status_code"], after["output"], after["output_expired"]) == ("succeeded", None, True)
    assert {**after, "output": None, "output_expired": None} == {**run, "output": None, "output_expired": None}
    assert (await client.get(url)).status_code == 404
    assert await objects(services, run["id"]) == []
    assert (await client.get(f"/v1/runs/{waiting['id']}")).json()["output_expired"] is False
    listed = await client.get("/v1/runs", params={"q": "output_expired:true"})
    assert [item["id"] for item in listed.json()["items"]] == [run["id"]]


async def test_events_go_but_not_those_of_a_run_that_waits(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run = await finished(client, worker, dispatch)
    assert run["has_logs"] is True
    await dispatch()
    lease = await worker.lease(20)
    assert lease is not None
    log = {"type": "log", "number": 1, "at": datetime.now(UTC).isoformat(), "data": {"message": "still here"}}
    assert (await worker.heartbeat(lease, log)).status_code == 200
    before = await count(services, "run_events", run["id"])
    assert before >= 1
    await all_of(services, service.forget_events, 6.9)
    assert await count(services, "run_events", run["id"]) == before
    assert await all_of(services, service.forget_events, 7.1) >= before
    assert await count(services, "run_events", run["id"]) == 0
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["has_logs"] is False
    assert await count(services, "run_events", lease["run_id"]) >= 1
    await worker.complete(lease, outputs=[await worker.upload(lease)])


async def test_outputs_and_runs_that_stay_keep_no_others(
    client: httpx.AsyncClient, services: Services, forgetful: Services, worker: Worker, dispatch: Dispatch
) -> None:
    runs = [(await finished(client, worker, dispatch))["id"] for _ in range(2)]
    await all_of(poisoned(services, runs[0]), service.expire_outputs, 30.1)
    told = [(await client.get(f"/v1/runs/{run}")).json()["output_expired"] for run in runs]
    assert told == [False, True]
    await all_of(poisoned(forgetful, runs[0]), service.remove_runs, 90.1)
    assert [(await client.get(f"/v1/runs/{run}")).status_code for run in runs] == [200, 404]
    assert await count(services, "run_outputs", runs[0]) == 1


@pytest.fixture
async def forgetful(services: Services) -> AsyncIterator[Services]:
    """The same parts with a retention of runs."""
    settings = services.settings.model_copy(update={"run_retention_days": 90})
    yield dataclasses.replace(services, settings=settings)


async def test_runs_stay_for_ever_unless_told_otherwise(services: Services) -> None:
    assert await service.remove_runs(services, await in_days(10_000)) == 0


async def test_a_run_goes_with_all_that_belongs_to_it_but_the_bill(
    client: httpx.AsyncClient, forgetful: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run, waiting = await finished(client, worker, dispatch), await dispatch()
    await all_of(forgetful, service.remove_runs, 89.9)
    assert (await client.get(f"/v1/runs/{run['id']}")).status_code == 200
    await all_of(forgetful, service.remove_runs, 90.1)
    assert (await client.get(f"/v1/runs/{run['id']}")).status_code == 404
    assert (await client.get(f"/v1/runs/{waiting['id']}")).status_code == 200
    assert await objects(forgetful, run["id"]) == []
    assert {name: await count(forgetful, name, run["id"]) for name in await tables_of_runs(forgetful)} == {
        name: int(name in STAY) for name in await tables_of_runs(forgetful)
    }


async def test_a_run_waits_for_its_callback(
    client: httpx.AsyncClient, forgetful: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run = await finished(client, worker, dispatch, callback_url="https://127.0.0.1:1/never")
    await pending(forgetful, run["id"], "pending")
    await all_of(forgetful, service.remove_runs, 91)
    assert (await client.get(f"/v1/runs/{run['id']}")).status_code == 200
    await pending(forgetful, run["id"], "failed")
    await all_of(forgetful, service.remove_runs, 91)
    assert (await client.get(f"/v1/runs/{run['id']}")).status_code == 404
    assert await count(forgetful, "deliveries", run["id"]) == 0


async def pending(services: Services, run_id: str, status: str) -> None:
    """Put the run's delivery into a state."""
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE deliveries SET status_code = %(status)s, next_attempt_at = 'infinity' WHERE run_id = %(id)s",
            {"id": run_id, "status": status},
        )


STAY = {"usage_records"}
"""Tables whose rows outlive their run."""
WITHOUT_THEIR_RUN = {"evaluations"}
"""Tables whose rows stay and forget their run."""
NAMING_RUNS = {"workflow_examples", "golden_run_examples"}
"""Tables that say which run something came from or became, whether it is still there or not: tests/golden."""


async def tables_of_runs(services: Services) -> set[str]:
    """Every table with a column `run_id`."""
    query = """SELECT table_name FROM information_schema.columns
               WHERE table_schema = 'public' AND column_name = 'run_id'"""
    async with services.db.system() as transaction:
        return set(await transaction.values(query, of=str))


async def test_every_table_of_runs_is_known_here(services: Services) -> None:
    """A new table with a `run_id` has to say what becomes of its rows: in `retention/queries.py`, or here."""
    removed = {"deliveries", "run_attempts", "run_events", "run_node_runs", "run_outputs", "run_previews"}
    assert await tables_of_runs(services) == removed | STAY | WITHOUT_THEIR_RUN | NAMING_RUNS
