"""What a run waited for: the parts of its wait add up to all of it, whatever its worker says and however it ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.queue_records import expire

NOTHING = {"queue_ms": 0, "machine_ms": 0, "runtime_ms": 0, "model_ms": 0, "engine_ms": 0}


async def earlier(services: Services, run: dict[str, Any], seconds: float) -> None:
    """Let all that has happened to a run have happened so much earlier."""
    values = {"run": run["id"], "ago": timedelta(seconds=seconds)}
    async with services.db.system() as transaction:
        await transaction.run("UPDATE runs SET created_at = created_at - %(ago)s WHERE id = %(run)s", values)
        await transaction.run(
            "UPDATE run_attempts SET offered_at = offered_at - %(ago)s, started_at = started_at - %(ago)s, "
            "completed_at = completed_at - %(ago)s WHERE run_id = %(run)s",
            values,
        )


@pytest.fixture
async def veteran(services: Services, worker: Worker) -> Worker:
    """A worker that was there before any of these runs."""
    async with services.db.system() as transaction:
        values = {"id": worker.worker_id}
        await transaction.run(
            "UPDATE workers SET instance_at = instance_at - interval '1 day', ready_at = ready_at - interval '1 day' "
            "WHERE id = %(id)s",
            values,
        )
    return worker


async def got(worker: Worker, run: dict[str, Any]) -> dict[str, Any]:
    lease = await worker.lease(wait=20)
    assert lease is not None and lease["run_id"] == run["id"]
    return lease


async def succeed(worker: Worker, lease: dict[str, Any], **timings: Any) -> None:
    answer = await worker.complete(lease, outputs=[await worker.upload(lease)], timings=timings)
    assert answer.status_code == 200, answer.text


async def read(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    """The run with its attempts; the parts of each wait add up, and none is negative."""
    found = dict((await client.get(f"/v1/runs/{run['id']}?embed=attempts,node_runs")).json())
    for one in (found, *found["attempts"]):
        assert one["wait"] is None or min(one["wait"].values()) >= 0
    return found


def queued_ms(run: dict[str, Any]) -> int:
    """From the submission until it began to execute, in whole milliseconds."""
    began, made = (datetime.fromisoformat(run[name]) for name in ("started_at", "created_at"))
    return (began - made) // timedelta(milliseconds=1)


async def test_the_parts_are_what_the_worker_measured_and_the_rest_is_the_queue(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, veteran: Worker
) -> None:
    run = await dispatch()
    assert run["wait"] is None
    await earlier(services, run, 30)
    lease = await got(veteran, run)
    assert (await read(client, run))["wait"] is None
    await earlier(services, run, 20)
    began = datetime.now(UTC).isoformat()
    await succeed(veteran, lease, started_at=began, runtime_ms=4000, model_ms=3000, engine_ms=2000, load_ms=7)
    found = await read(client, run)
    wait = found["wait"]
    assert {name: wait[name] for name in wait if name != "queue_ms"} == {
        "machine_ms": 0,
        "runtime_ms": 4000,
        "model_ms": 3000,
        "engine_ms": 2000,
    }
    assert sum(wait.values()) == queued_ms(found) >= 50_000
    assert [one["wait"] for one in found["attempts"]] == [wait]
    assert (await client.get(f"/v1/runs/{run['id']}/attempts")).json()["items"][0]["wait"] == wait


@given(
    runtime=st.integers(0, 10**9),
    model=st.integers(0, 10**9),
    engine=st.integers(0, 10**9),
    lane=st.integers(0, 100_000),
    preparing=st.integers(-1000, 100_000),
)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_a_worker_says_the_parts_add_up_and_stay_within_the_time_that_it_had(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    veteran: Worker,
    runtime: int,
    model: int,
    engine: int,
    lane: int,
    preparing: int,
) -> None:
    run = await dispatch()
    await earlier(services, run, lane / 1000)
    lease = await got(veteran, run)
    await earlier(services, run, max(0, preparing) / 1000)
    began = datetime.now(UTC) + timedelta(milliseconds=min(0, preparing))
    await succeed(veteran, lease, started_at=began.isoformat(), runtime_ms=runtime, model_ms=model, engine_ms=engine)
    found = await read(client, run)
    assert sum(found["wait"].values()) == queued_ms(found)
    assert found["wait"]["queue_ms"] >= min(lane, queued_ms(found)), "the worker had it only after that"


async def test_a_run_waits_for_its_machine_until_that_registers(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, make_worker: MakeWorker, workflow: Deployed
) -> None:
    run = await dispatch()
    await earlier(services, run, 60)
    worker = await make_worker(workflow.gpu)
    lease = await got(worker, run)
    await worker.register()  # again, by the same process: that is no news
    await earlier(services, run, 5)
    await succeed(worker, lease, started_at=datetime.now(UTC).isoformat(), engine_ms=1000)
    wait = (await read(client, run))["wait"]
    assert wait["machine_ms"] >= 60_000 and wait["engine_ms"] == 1000
    assert wait["machine_ms"] + 5000 <= sum(wait.values())
    second = await dispatch()
    await earlier(services, second, 0.001)
    await succeed(worker, await got(worker, second))
    later = (await read(client, second))["wait"]
    assert later["machine_ms"] == 0, "it was there"


async def test_a_run_waits_for_the_engine_of_a_worker_that_has_just_come(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    veteran: Worker,
    make_worker: MakeWorker,
    workflow: Deployed,
) -> None:
    run = await dispatch()
    await earlier(services, run, 60)
    worker = Worker(veteran.http, f"starting-{run['id']}", workflow.gpu)
    await worker.register(status="engine_down")
    async with services.db.system() as transaction:
        # It has come 20 seconds ago, and its engine takes until now.
        values = {"id": worker.worker_id}
        await transaction.run("UPDATE workers SET instance_at = now() - interval '20 s' WHERE id = %(id)s", values)
    await worker.register()
    for status in ("engine_down", "ready"):  # what follows is no start of the worker
        await worker.register(status=status)
    lease = await got(worker, run)
    await succeed(worker, lease, started_at=datetime.now(UTC).isoformat(), engine_ms=0)
    found = await read(client, run)
    wait = found["wait"]
    assert wait["machine_ms"] >= 40_000 and wait["engine_ms"] >= 20_000 and sum(wait.values()) == queued_ms(found)
    async with services.db.system() as transaction:
        statement = "SELECT ready_at - instance_at FROM workers WHERE id = %(id)s"
        start = await transaction.one_value(statement, values, of=timedelta)
    assert wait["engine_ms"] in (start // timedelta(milliseconds=1), start // timedelta(milliseconds=1) + 1)


async def test_what_earlier_attempts_took_is_in_the_queue_and_the_next_machine_counts_from_their_end(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    veteran: Worker,
    make_worker: MakeWorker,
    workflow: Deployed,
) -> None:
    run = await dispatch()
    lease = await got(veteran, run)
    await veteran.heartbeat(lease, status="running")
    await earlier(services, run, 100)
    timings = {"started_at": datetime.now(UTC).isoformat(), "engine_ms": 90_000}
    error = {"code": "ENGINE_CRASHED", "stage": "execute", "message": "Gone. Again.", "retryable": True}
    assert (await veteran.complete(lease, "failed", error=error, timings=timings)).json()["status_code"] == "queued"
    assert (await read(client, run))["wait"] is None, "it waits again"
    await earlier(services, run, 30)
    other = await make_worker(workflow.gpu)
    await veteran.register(status="engine_down")
    await succeed(other, await got(other, run), started_at=datetime.now(UTC).isoformat())
    found = await read(client, run)
    assert found["wait"] == found["attempts"][1]["wait"] != found["attempts"][0]["wait"]
    assert found["wait"]["queue_ms"] >= 100_000 and found["wait"]["engine_ms"] == 0
    assert 30_000 <= found["wait"]["machine_ms"] < 100_000
    assert sum(found["wait"].values()) == queued_ms(found)


async def test_of_an_attempt_that_never_began_the_wait_goes_until_its_end(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, veteran: Worker
) -> None:
    run = await dispatch()
    lease = await got(veteran, run)
    await veteran.heartbeat(lease)
    await earlier(services, run, 40)
    error = {"code": "MODEL_MISSING", "stage": "prepare", "message": "It is gone. Upload it."}
    await veteran.complete(lease, "failed", error=error, timings={"model_ms": 39_000, "prepare_ms": 39_000})
    found = await read(client, run)
    assert found["status_code"] == "failed" and found["wait"]["model_ms"] == 39_000
    assert sum(found["wait"].values()) >= 40_000


async def test_a_run_that_nobody_took_up_has_no_wait(
    client: httpx.AsyncClient, dispatch: Dispatch, veteran: Worker
) -> None:
    run = await dispatch()
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    assert (await read(client, run))["wait"] is None


async def test_a_lost_worker_leaves_what_is_known(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, veteran: Worker
) -> None:
    run = await dispatch()
    lease = await got(veteran, run)
    await veteran.heartbeat(lease, status="running")
    await expire(services, lease)
    await Sweeper(services).sweep_leases()
    (attempt,) = (await read(client, run))["attempts"]
    assert attempt["status_code"] == "lost"
    assert {**attempt["wait"], "queue_ms": 0} == NOTHING


@pytest.mark.parametrize(
    ("timings", "has_large", "causes"),
    [
        ({}, False, set()),
        ({"runtime_ms": 1}, False, {"runtime"}),
        ({"engine_ms": 5000}, False, set()),
        ({"cold_start": True}, False, {"engine"}),
        ({"loaded": True}, False, set()),
        ({"loaded": True}, True, {"model"}),
        ({"loaded": True, "load_ms": 3}, False, {"model"}),
        ({"loaded": False, "load_ms": 3}, True, set()),
        ({"model_ms": 999}, True, set()),
        ({"model_ms": 1000}, False, {"model"}),
        ({"runtime_ms": 9, "cold_start": True, "loaded": True, "load_ms": 1}, False, {"runtime", "engine", "model"}),
    ],
)
async def test_cold_starts_are_counted_by_cause(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    veteran: Worker,
    workflow: Deployed,
    timings: dict[str, Any],
    has_large: bool,
    causes: set[str],
) -> None:
    run = await dispatch()
    lease = await got(veteran, run)
    await earlier(services, run, 10)
    if has_large:
        async with services.db.system() as transaction:
            statement = "UPDATE lanes SET models_key = 'some' WHERE id = (SELECT lane_id FROM runs WHERE id = %(run)s)"
            await transaction.run(statement, {"run": run["id"]})
    await succeed(veteran, lease, started_at=datetime.now(UTC).isoformat(), **timings)
    answer = await client.get(f"/v1/comfyui-workflows/{workflow.id}/run-performance-stats")
    totals = answer.json()["totals"]
    found = totals["cold_starts_by_cause"]
    assert found == {cause: int(cause in causes) for cause in ("machine", "runtime", "model", "engine")}
    assert totals["cold_starts"] == found["engine"]


async def test_what_nodes_loaded_is_kept(client: httpx.AsyncClient, dispatch: Dispatch, veteran: Worker) -> None:
    run = await dispatch()
    lease = await got(veteran, run)
    nodes = [
        {"node_id": "4", "node_type": "Anything", "state_code": "succeeded", "duration_ms": 12, "load_ms": 9},
        {"node_id": "9", "node_type": "Anything", "state_code": "succeeded", "duration_ms": 12},
    ]
    await veteran.complete(lease, outputs=[await veteran.upload(lease)], nodes=nodes, timings={"load_ms": 9})
    found = await read(client, run)
    assert {node["node_id"]: node["load_ms"] for node in found["node_runs"]} == {"4": 9, "9": None}
    assert found["attempts"][0]["load_ms"] == 9
    listed = (await client.get(f"/v1/runs/{run['id']}/node-runs?q=load_ms > 5")).json()["items"]
    assert [node["node_id"] for node in listed] == ["4"]
