"""What the sweeper takes back, and that one row that fails is no other's trouble."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.db.set_aside import FAILURES_IN_A_ROW
from runflow.ids import new_id
from runflow.queue.grace import Grace
from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker
from tests.support.poisoned import poisoned
from tests.support.queue_records import expire

MONTH_MS = 2_147_483_647
"""The most that a duration says."""


async def read(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    return dict((await client.get(f"/v1/runs/{run['id']}")).json())


async def made_before(services: Services, run: dict[str, Any], interval: str) -> None:
    """Let a run be older (or, with a negative interval, younger) than it is."""
    async with services.db.system() as transaction:
        statement = "UPDATE runs SET created_at = clock_timestamp() - CAST(%(by)s AS interval) WHERE id = %(id)s"
        await transaction.run(statement, {"by": interval, "id": run["id"]})


async def taken(worker: Worker) -> dict[str, Any]:
    lease = await worker.lease(20)
    assert lease is not None
    assert (await worker.heartbeat(lease)).status_code == 200
    return lease


async def test_a_run_older_than_a_month_of_milliseconds_completes(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    await made_before(services, run, "40 days")
    answer = await worker.complete(await taken(worker))
    assert answer.status_code == 200, answer.text
    after = await read(client, run)
    assert (after["status_code"], after["duration_ms"]) == ("succeeded", MONTH_MS)


async def test_it_is_cancelled(client: httpx.AsyncClient, services: Services, dispatch: Dispatch) -> None:
    run = await dispatch()
    await made_before(services, run, "40 days")
    assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    assert (await read(client, run))["duration_ms"] == MONTH_MS


async def test_its_third_lost_lease_ends_it(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    await made_before(services, run, "40 days")
    for _ in range(3):
        await expire(services, await taken(worker))
        await Sweeper(services).sweep_leases()
    assert (await read(client, run))["failure_code"] == "WORKER_LOST"


async def test_a_clock_that_was_set_back_makes_no_negative_duration(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    await made_before(services, run, "-1 hour")
    assert (await worker.complete(await taken(worker))).status_code == 200
    assert (await read(client, run))["duration_ms"] == 0


async def set_running(services: Services, run: dict[str, Any], running: int) -> None:
    async with services.db.system() as transaction:
        lane = "(SELECT lane_id FROM runs WHERE id = %(id)s)"
        await transaction.run(
            f"UPDATE lanes SET running = %(running)s WHERE id = {lane}", {"running": running, "id": run["id"]}
        )


async def test_a_lease_that_cannot_be_ended_keeps_no_other_from_its_end(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker, workflow: Deployed
) -> None:
    body = {"name": "Other", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [workflow.gpu]}
    path = (await client.post("/v1/comfyui-workflows", json=body)).json()["path"]
    poison = await dispatch()
    leases = [await taken(worker)]
    other = (await client.post(f"/v1/comfyui-workflows/{path}/runs", json={"input": {"prompt": "an otter"}})).json()
    leases.append(await taken(worker))
    # What ends a lease counts its lane down, and no lane counts below nothing.
    await set_running(services, poison, 0)
    for lease in leases:
        await expire(services, lease)
    sweeper = Sweeper(services)
    await sweeper.sweep_leases()
    assert [(await read(client, run))["status_code"] for run in (poison, other)] == ["dispatching", "queued"]
    await set_running(services, poison, 1)
    await Sweeper(services).sweep_leases()
    assert (await read(client, poison))["status_code"] == "queued"


async def test_a_worker_registers_however_many_of_its_earlier_leases_cannot_be_ended(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    runs = [await dispatch() for _ in range(FAILURES_IN_A_ROW + 1)]
    for _ in runs:
        await taken(worker)
    await set_running(services, runs[0], 0)
    worker.instance = new_id()
    await worker.register()
    await set_running(services, runs[0], len(runs))


async def test_who_has_a_row_locked_keeps_no_other_from_its_end(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completion holds its run for as long as storage takes; a server that was stopped, for longer."""
    locked, other = await dispatch(), await dispatch()
    for _ in range(2):
        await expire(services, await taken(worker))
    sweeper = Sweeper(services)
    monkeypatch.setattr(services.hub, "connections", services.hub.connections + 1)
    async with services.db.system() as transaction:
        await transaction.values("SELECT id FROM runs WHERE id = %(id)s FOR UPDATE", {"id": locked["id"]}, of=UUID)
        async with asyncio.timeout(60):
            await sweeper.doubt_after_a_crash()
            await sweeper.sweep_leases()
        assert [(await read(client, run))["status_code"] for run in (locked, other)] == ["dispatching", "queued"]
        assert await doubted(services, locked, other) == {other["id"]}
    await sweeper.doubt_after_a_crash()
    await sweeper.sweep_leases()
    assert (await read(client, locked))["status_code"] == "queued"
    assert await doubted(services, locked, other) == {locked["id"], other["id"]}


async def doubted(services: Services, *runs: dict[str, Any]) -> set[str]:
    """Return of which of these runs it is noted that attempts may have been forgotten."""
    statement = "SELECT id FROM runs WHERE has_leftovers AND id = ANY(CAST(%(ids)s AS uuid[]))"
    async with services.db.system() as transaction:
        return {str(one) for one in await transaction.values(statement, {"ids": [run["id"] for run in runs]}, of=UUID)}


class Clock:
    now = 0.0

    def __call__(self) -> tuple[float, float]:
        return self.now, self.now


@pytest.mark.parametrize("began", [False, True], ids=["offer", "lease"])
async def test_a_gap_takes_nothing_from_a_worker_that_could_not_renew(
    services: Services, dispatch: Dispatch, worker: Worker, began: bool
) -> None:
    clock = Clock()
    await dispatch()
    sweeper = Sweeper(services, Grace(clock))

    async def rounds(seconds: int) -> None:
        for _ in range(seconds):
            clock.now += 1
            await sweeper.round()

    await rounds(70)  # longer than an offer of the tests and a lease
    lease = await (taken(worker) if began else worker.lease(20))
    assert lease is not None
    await expire(services, lease)
    clock.now += 24
    await sweeper.round()
    assert (await worker.heartbeat(lease)).status_code == 200, "it is still the worker's"
    await expire(services, lease)
    await rounds(70)
    assert (await worker.heartbeat(lease)).json()["code"] in ("LEASE_LOST", "LEASE_NOT_FOUND")


async def test_outputs_of_lapsed_offers_go_and_the_result_stays(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = await dispatch()
    lapsed = await worker.lease(20)
    assert lapsed is not None
    await worker.upload(lapsed)
    await expire(services, lapsed)
    await Sweeper(services).sweep_offers()
    lease = await taken(worker)
    assert (await worker.complete(lease, outputs=[await worker.upload(lease)])).status_code == 200
    sweeper = Sweeper(services)
    while await sweeper.sweep_leftovers():
        pass
    assert await objects(services, run) == {lapsed["id"], lease["id"]}, "its URLs may still be valid"
    monkeypatch.setattr("runflow.queue.sweeper.OBJECTS_AFTER_SECONDS", 0)
    while await sweeper.sweep_leftovers():
        pass
    assert await objects(services, run) == {lease["id"]}
    url = (await read(client, run))["output"]["outputs"][0]["url"]
    assert (await client.get(url)).status_code == 200


async def test_files_of_an_attempt_that_the_database_forgot_go_too(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Claims do not wait for the disk: after a crash a run may wait as if nobody had ever had it."""
    sweeper = Sweeper(services)
    await sweeper.doubt_after_a_crash()
    waits, ended = await dispatch(), await dispatch()
    forgotten = str(new_id())
    for run in (waits, ended):
        await services.storage.put(f"runs/{run['id']}/{forgotten}/0-a.png", b"png", limit=3)
    first = await taken(worker)
    assert first["run_id"] == waits["id"]
    assert (await worker.complete(first, "released")).status_code == 200
    monkeypatch.setattr(services.hub, "connections", services.hub.connections + 1)
    results = {}
    for doubted in (False, True):  # one ends before the sweeper has seen that the database was away, one after
        lease = await taken(worker)
        assert (await worker.complete(lease, outputs=[await worker.upload(lease)])).status_code == 200
        results[lease["run_id"]] = lease["id"]
        if not doubted:
            await sweeper.doubt_after_a_crash()
    assert results.keys() == {waits["id"], ended["id"]}
    monkeypatch.setattr("runflow.queue.sweeper.OBJECTS_AFTER_SECONDS", 0)
    while await sweeper.sweep_leftovers():
        pass
    for run in (waits, ended):
        assert await objects(services, run) == {results[run["id"]]}


async def objects(services: Services, run: dict[str, Any]) -> set[str]:
    """Return the leases that have objects below a run's prefix."""
    return {key.split("/")[2] async for key in services.storage.list(f"runs/{run['id']}")}


async def test_outputs_that_cannot_be_removed_keep_none_from_removal(
    services: Services, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.queue.sweeper.OBJECTS_AFTER_SECONDS", 0)
    runs = []
    for _ in range(2):
        await dispatch()
        lease = await taken(worker)
        await worker.upload(lease)
        assert (await worker.fail(lease, "EXECUTION_FAILED")).status_code == 200
        runs.append(lease["run_id"])
    sweeper = Sweeper(poisoned(services, runs[0]))
    while await sweeper.sweep_objects():
        pass
    left = [[key async for key in services.storage.list(f"runs/{run}")] for run in runs]
    assert [len(keys) for keys in left] == [1, 0]
