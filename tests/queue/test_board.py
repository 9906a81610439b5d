"""What a server knows of lanes and workers: what lanes need, what loading costs, who is left what."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue import lane_queries
from runflow.queue.board import Board
from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from runflow.workflows.runtime.large_models import BYTES_PER_SECOND, LARGE_BYTES, MOST_LOAD_SECONDS
from tests.support.able import MakeAble
from tests.support.deployed import PROMPT, Deployed, MakeWorker, Worker
from tests.support.queue_records import expire
from tests.support.waiting import until

LOAD = 200.0
"""Seconds that loading takes: far longer than any test, so that no clock decides what it says."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What the database holds of a lane's pace."""

    models_key: str | None
    load_seconds: float | None
    expected_seconds: float
    is_pace_known: bool
    virtual_time: float


async def pace(services: Services, run: dict[str, Any]) -> Pace:
    statement = """
        SELECT l.models_key, l.load_seconds, l.expected_seconds, l.is_pace_known, s.virtual_time
        FROM lanes l JOIN runs r ON r.lane_id = l.id JOIN fair_shares s ON s.org_id = l.org_id WHERE r.id = %(run)s
    """
    async with services.db.system() as transaction:
        return await transaction.one(statement, {"run": run["id"]}, row=Pace)


@pytest.fixture(params=["a model", "a file of a cache"])
async def large(client: httpx.AsyncClient, request: pytest.FixtureRequest) -> Deployed:
    """A workflow with a large model, which it declares as one or takes from a library's cache."""
    gpu = f"GPU-{new_id().hex[-8:]}"
    known = {"sha256": new_id().hex * 2, "size_bytes": int(LOAD * BYTES_PER_SECOND)}
    body: dict[str, Any] = {"name": "Large", "workflow_json": PROMPT}
    body |= {"gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    if request.param == "a model":
        body["models"] = {"checkpoints/x.safetensors": known}
    else:
        checkpoint = {**known, "name": "x.pth", "url": "https://example.com/x.pth"}
        body |= {"models": {}, "environment": {"cached_models": {"pytorch": [checkpoint]}}}
    answer = await client.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    return Deployed(answer.json()["id"], answer.json()["path"], gpu)


async def dispatch(client: httpx.AsyncClient, workflow: Deployed) -> dict[str, Any]:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def warm_for(lease: dict[str, Any], executed: float = 0.0) -> dict[str, Any]:
    version = lease["version"]
    key = {"domain": lease["domain"], "fingerprint": version["fingerprint"], "models": version["models_key"]}
    return {"warm": [{**key, "executed_seconds": executed}]}


async def work(worker: Worker, seconds: float, *, loaded: bool | None, **ask: Any) -> dict[str, Any]:
    """Let a worker take the run that waits, and complete it."""
    lease = await worker.lease(**ask)
    assert lease is not None
    done = await worker.complete(lease, timings={"execute_ms": round(seconds * 1000), "loaded": loaded})
    assert done.json()["status_code"] == "succeeded", done.text
    return lease


async def test_every_lease_of_a_version_names_its_large_models_alike(
    client: httpx.AsyncClient, services: Services, large: Deployed, make_worker: MakeWorker
) -> None:
    worker = await make_worker(large.gpu)
    first_run = await dispatch(client, large)
    keys = {(await work(worker, 1, loaded=None))["version"]["models_key"]}
    found = await pace(services, first_run)
    assert found.models_key != "" and found.load_seconds == LOAD, "also where the first run came alone"
    run = await dispatch(client, large)
    await dispatch(client, large)
    keys |= {(await work(worker, 1, loaded=None))["version"]["models_key"] for _ in range(2)}
    assert keys == {found.models_key, (await pace(services, run)).models_key}


async def test_a_load_is_charged_to_the_organization_that_causes_it(
    client: httpx.AsyncClient, services: Services, large: Deployed, make_worker: MakeWorker
) -> None:
    worker = await make_worker(large.gpu)
    runs = [await dispatch(client, large) for _ in range(3)]
    await Board(services.db, services.hub).refresh()
    had = [(await pace(services, runs[0])).virtual_time]
    ask: dict[str, Any] = {}
    for _ in runs:
        lease = await work(worker, 1, loaded=not ask, **ask)
        ask = warm_for(lease)
        had.append((await pace(services, runs[0])).virtual_time)
    first, second, third = (later - before for before, later in pairwise(had))
    assert first >= LOAD and max(second, third) < LOAD


@pytest.mark.parametrize("loads", [True, False])
async def test_a_run_that_goes_back_uncounted_costs_its_organization_nothing(
    client: httpx.AsyncClient, services: Services, large: Deployed, make_worker: MakeWorker, loads: bool
) -> None:
    worker = await make_worker(large.gpu)
    runs = [await dispatch(client, large) for _ in range(2)]
    lease = await work(worker, 1, loaded=True)
    ask = {} if loads else warm_for(lease)
    before = (await pace(services, runs[1])).virtual_time
    for _ in range(3):
        taken = await worker.lease(**ask)
        assert taken is not None
        charged = (await pace(services, runs[1])).virtual_time - before
        assert charged >= LOAD if loads else 0 < charged < LOAD
        await worker.heartbeat(taken)
        assert (await worker.complete(taken, "released")).json()["status_code"] == "queued"
        assert (await pace(services, runs[1])).virtual_time == pytest.approx(before)
    taken = await worker.lease(**ask)
    assert taken is not None
    await expire(services, taken)
    assert await Sweeper(services).sweep_offers() >= 1
    assert (await pace(services, runs[1])).virtual_time == pytest.approx(before)


async def test_what_a_load_takes_is_learned_from_runs_with_and_without_one(
    client: httpx.AsyncClient, services: Services, large: Deployed, make_worker: MakeWorker
) -> None:
    worker = await make_worker(large.gpu)
    run: dict[str, Any] = {}

    async def after(seconds: float, *, loaded: bool | None) -> tuple[float | None, float, bool]:
        nonlocal run
        run = await dispatch(client, large)
        await Board(services.db, services.hub).refresh()
        await work(worker, seconds, loaded=loaded)
        found = await pace(services, run)
        return (found.load_seconds, round(found.expected_seconds, 3), found.is_pace_known)

    assert await after(230, loaded=True) == (LOAD, 30.0, False), "the size of the models tells the two apart"
    assert await after(10, loaded=False) == (LOAD, 10.0, True)
    load, expected, _ = await after(40, loaded=True)
    assert load == pytest.approx(0.7 * LOAD + 0.3 * 30) and expected == 10.0
    for _ in range(20):
        load, _, _ = await after(40, loaded=True)
    assert load == pytest.approx(30, abs=1)
    load, _, _ = await after(1, loaded=True)
    assert load is not None and 0 <= load < 30
    for _ in range(20):
        load, _, _ = await after(10**6, loaded=True)
    assert load == MOST_LOAD_SECONDS
    assert (await after(20, loaded=None))[:2] == (MOST_LOAD_SECONDS, 12.0), "a worker that does not tell"


async def test_a_run_is_left_to_the_worker_that_holds_its_models(
    client: httpx.AsyncClient, large: Deployed, make_worker: MakeWorker
) -> None:
    warm, cold = [await make_worker(large.gpu) for _ in range(2)]
    for _ in range(2):
        await dispatch(client, large)
    ask = warm_for(await work(warm, 1, loaded=True))
    ask = warm_for(await work(warm, 1, loaded=False, **ask))
    assert await warm.lease(**ask) is None
    run = await dispatch(client, large)
    assert await cold.lease() is None
    lease = await warm.lease(**ask)
    assert lease is not None and lease["run_id"] == run["id"]


async def test_who_gets_nothing_is_left_nothing(
    client: httpx.AsyncClient, services: Services, large: Deployed, make_worker: MakeWorker
) -> None:
    warm, cold = [await make_worker(large.gpu) for _ in range(2)]
    for _ in range(2):
        await dispatch(client, large)
    ask = warm_for(await work(warm, 1, loaded=True))
    await work(warm, 1, loaded=False, **ask)
    async with services.db.system() as transaction:
        statement = "UPDATE workers SET draining = true WHERE id = %(id)s"
        await transaction.run(statement, {"id": UUID(warm.worker_id)})
    run = await dispatch(client, large)
    assert await warm.lease(**ask) is None
    lease = await cold.lease()
    assert lease is not None and lease["run_id"] == run["id"]


async def test_a_board_reads_only_what_hints_name(
    client: httpx.AsyncClient,
    services: Services,
    large: Deployed,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[int | None] = []
    reading = lane_queries.waiting

    async def spied(transaction: Any, lanes: list[UUID] | None = None, **more: Any) -> Any:
        reads.append(None if lanes is None else len(lanes))
        return await reading(transaction, lanes, **more)

    monkeypatch.setattr(lane_queries, "waiting", spied)
    board = Board(services.db, services.hub)
    monkeypatch.setattr(board, "_read_again", 3600.0)
    await board.refresh()
    monkeypatch.setattr(board, "_read_again", 3600.0)
    await board.refresh()
    await dispatch(client, large)
    for _ in range(2):
        await board.refresh()
    await make_worker(large.gpu)
    await board.refresh()
    assert reads == [None, 1], "no lane has changed where a worker registers"
    worker = await make_worker(large.gpu)
    lease = await worker.lease(20)
    assert lease is not None
    del reads[:]
    await worker.complete(lease, "released")
    await board.refresh()
    assert reads == [1], "a run that comes back, comes into its own lane"
    reads[:] = [None, 1]
    services.hub.publish("lanes")
    await board.refresh()
    assert reads == [None, 1, None]
    assert LARGE_BYTES < LOAD * BYTES_PER_SECOND and any(lane.models for lane in board.lineup)


async def test_documents_that_tell_of_models_are_read_within_a_bound_in_bytes(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    runs = []
    for number in range(4):
        loads = {"100": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{number}{gpu}.safetensors"}}}
        body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT | loads}
        answer = await client.post(
            "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
        )
        assert answer.status_code == 201, answer.text
        runs.append(await dispatch(client, Deployed(answer.json()["id"], answer.json()["path"], gpu)))
    read: list[int] = []
    reading = lane_queries.models_of

    async def spied(transaction: Any, versions: list[UUID], *, most_stored: int) -> Any:
        found = await reading(transaction, versions, most_stored=most_stored)
        read.append(len(found))
        return found

    monkeypatch.setattr(lane_queries, "models_of", spied)
    monkeypatch.setattr("runflow.queue.board.MOST_STORED_BYTES", 100)
    board = Board(services.db, services.hub)

    async def known() -> bool:
        await board.refresh()
        return None not in [(await pace(services, run)).models_key for run in runs]

    await until(known)
    assert len(read) >= 4 and set(read) == {1}, "the next reading goes on with the others"
    keys = {(await pace(services, run)).models_key for run in runs}
    assert len(keys) == 4 and "" not in keys


async def lanes_with_models(client: httpx.AsyncClient, services: Services, models: Any) -> tuple[Board, dict[str, Any]]:
    """A process that has to find out of these models, and a run that needs them."""
    gpu = f"GPU-{new_id().hex[-8:]}"
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, "models": models}
    answer = await client.post(
        "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    )
    assert answer.status_code == 201, answer.text
    run = await dispatch(client, Deployed(answer.json()["id"], answer.json()["path"], gpu))
    return Board(services.db, services.hub), run


@pytest.mark.parametrize("environment", [{"python": "\0"}, {"\0": 1}, {"comfyui": {"commit": "\0"}}])
async def test_a_version_whose_environment_no_sql_can_look_into_keeps_no_worker_from_others(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed, environment: dict[str, Any]
) -> None:
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, "environment": environment}
    answer = await client.post(
        "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [workflow.gpu]}
    )
    assert answer.status_code == 201, answer.text
    box = await able()
    runs = [await dispatch(client, Deployed(answer.json()["id"], answer.json()["path"], workflow.gpu))]
    runs += [await dispatch(client, workflow) for _ in range(2)]
    leases = [await box.lease(20) for _ in runs]
    assert {lease["run_id"] for lease in leases if lease is not None} == {run["id"] for run in runs}


async def test_what_one_organization_writes_into_a_manifest_stops_nobody(
    client: httpx.AsyncClient, services: Services
) -> None:
    board, run = await lanes_with_models(client, services, {"checkpoints/a.ckpt": {"sha256": "\0"}})
    await board.refresh()
    assert (await pace(services, run)).models_key


async def test_lanes_whose_models_cannot_be_found_out_are_offered_all_the_same(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaking(*_: Any) -> Any:
        raise ValueError("it is nothing that can be looked for")

    monkeypatch.setattr(lane_queries, "uploaded_sizes", breaking)
    sha256 = new_id().hex * 2
    board, run = await lanes_with_models(client, services, {"checkpoints/a.ckpt": {"sha256": sha256}})
    await board.refresh()
    async with services.db.system() as transaction:
        lane = await transaction.one_value("SELECT lane_id FROM runs WHERE id = %(run)s", {"run": run["id"]}, of=UUID)
    assert board.lineup.get(lane) is not None and not board._doubts_all
    monkeypatch.undo()
    await Board(services.db, services.hub).refresh()
    assert (await pace(services, run)).models_key, "the next one finds out"
