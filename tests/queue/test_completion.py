"""The end of an attempt: one terminal transition, one output set, one delivery."""

from typing import Any

import httpx
import pytest

from runflow.protocol.events import NUMBERS_PER_ATTEMPT
from runflow.queue.completion import MOST_BEGINNINGS
from runflow.queue.sweeper import Sweeper
from runflow.runs.history.timeline import END
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.queue_records import deliveries, lane_counts


async def leased(dispatch: Dispatch, worker: Worker, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    run = await dispatch(**more)
    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == run["id"]
    return run, lease


async def test_a_succeeded_run_has_outputs_timings_usage_and_nodes(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    output = await worker.upload(lease, b"the picture")
    node = {"node_id": "4", "node_type": "Anything", "state_code": "succeeded", "duration_ms": 12}
    timings = {"prepare_ms": 3, "load_ms": 1000, "execute_ms": 2500, "upload_ms": 5}
    done = await worker.complete(lease, outputs=[output], nodes=[node], timings=timings)
    assert done.json() == {"run_id": run["id"], "status_code": "succeeded", "lease": None}
    read = (await client.get(f"/v1/runs/{run['id']}?embed=node_runs,attempts")).json()
    assert read["status_code"] == "succeeded" and read["is_terminal"] is True
    produced = read["output"]["outputs"]
    assert read["output"]["kind"] == "comfyui_outputs"
    assert [(one["output_id"], one["content_type"], one["size_bytes"]) for one in produced] == [
        ("picture", "image/png", 11)
    ]
    assert (await client.get(produced[0]["url"])).content == b"the picture"
    assert read["node_runs"][0]["duration_ms"] == 12
    assert read["attempts"][0]["execute_ms"] == 2500
    assert read["duration_ms"] >= 0 and read["completed_at"] >= read["started_at"]
    assert read["cost"] == "0.000000"
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_the_same_completion_again_gets_the_same_answer(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker, callback_url="http://127.0.0.1:9/hook")
    output = await worker.upload(lease)
    first = await worker.complete(lease, outputs=[output])
    second = await worker.complete(lease, outputs=[output])
    assert first.json() == second.json()
    other = await worker.fail(lease, "EXECUTION_FAILED")
    assert (other.status_code, other.json()["code"]) == (409, "LEASE_LOST")
    assert len(await deliveries(services, run["id"])) == 1
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_a_node_s_failure_ends_the_run_with_the_node_and_the_next_step(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker, callback_url="http://127.0.0.1:9/hook")
    error = {
        "code": "EXECUTION_FAILED",
        "stage": "execute",
        "message": 'Node 4 "Paint" (Anything) failed: no colour. Choose one.',
        "node_id": "4",
        "node_type": "Anything",
    }
    assert (await worker.complete(lease, "failed", error=error)).json()["status_code"] == "failed"
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert read["failure_code"] == "EXECUTION_FAILED" and read["failure_stage_code"] == "execute"
    assert read["failure_message"] == read["failure_reason"] == read["error"]["message"] == error["message"]
    assert (read["error"]["node_id"], read["error"]["node_type"]) == ("4", "Anything")
    sent = await deliveries(services, run["id"])
    assert [row.event_type_code for row in sent] == ["run.failed"]
    assert b"EXECUTION_FAILED" in sent[0].payload


async def test_trouble_of_the_engine_is_retried_three_times_in_all(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    for number in (1, 2, 3):
        assert lease["attempt_number"] == number
        answer = await worker.fail(lease, "ENGINE_CRASHED", retryable=True)
        if number < 3:
            assert answer.json()["status_code"] == "queued"
            again = await worker.lease()
            assert again is not None
            lease = again
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert (read["status_code"], read["failure_code"]) == ("failed", "ENGINE_CRASHED")
    assert [attempt["failure_code"] for attempt in read["attempts"]] == ["ENGINE_CRASHED"] * 3
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_a_released_run_waits_again_and_no_attempt_is_counted(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    assert (await worker.complete(lease, "released")).json()["status_code"] == "queued"
    again = await worker.lease()
    assert again is not None and again["attempt_number"] == 1
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["attempt_count"] == 0


async def test_what_workers_gave_back_leaves_a_run_all_its_attempts(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    """A run that waits behind long ones is taken up and given back again and again."""
    run, lease = await leased(dispatch, worker)
    for result in ("released", "released", "released", "failed", "failed"):
        await worker.heartbeat(lease)
        answer = await (
            worker.complete(lease, "released")
            if result == "released"
            else worker.fail(lease, "ENGINE_CRASHED", retryable=True)
        )
        assert answer.json()["status_code"] == "queued", result
        again = await worker.lease()
        assert again is not None
        lease = again
    assert (await worker.fail(lease, "ENGINE_CRASHED", retryable=True)).json()["status_code"] == "failed"
    attempts = (await client.get(f"/v1/runs/{run['id']}/attempts")).json()["items"]
    assert len(attempts) == 3


async def test_a_run_that_is_begun_and_given_back_without_end_is_ended(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beginning has numbers of its own for its events, and the numbers have an end."""
    assert MOST_BEGINNINGS * NUMBERS_PER_ATTEMPT + NUMBERS_PER_ATTEMPT * 10 < END < 2**31
    monkeypatch.setattr("runflow.queue.completion.MOST_BEGINNINGS", 3)
    run, lease = await leased(dispatch, worker)
    for _ in range(2):
        await worker.heartbeat(lease)
        assert (await worker.complete(lease, "released")).json()["status_code"] == "queued"
        again = await worker.lease()
        assert again is not None
        lease = again
    await worker.heartbeat(lease)
    assert (await worker.complete(lease, "released")).json()["status_code"] == "failed"
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (read["status_code"], read["failure_code"]) == ("failed", "WORKER_LOST")
    assert "given back 3 times" in read["failure_message"]


async def test_an_output_that_was_never_uploaded_cannot_succeed(dispatch: Dispatch, worker: Worker) -> None:
    run, lease = await leased(dispatch, worker)
    output = await worker.upload(lease)
    for wrong in (
        {**output, "object_key": output["object_key"] + "x"},
        {**output, "object_key": f"runs/{run['id']}/{run['id']}/0-a.png"},
        {**output, "size_bytes": 4},
    ):
        answer = await worker.complete(lease, outputs=[wrong])
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert (await worker.complete(lease, outputs=[output])).status_code == 200


async def test_another_worker_cannot_end_my_lease(dispatch: Dispatch, worker: Worker, make_worker: Any) -> None:
    _, lease = await leased(dispatch, worker)
    thief = await make_worker(worker.gpu)
    answer = await thief.fail(lease, "EXECUTION_FAILED")
    assert (answer.status_code, answer.json()["code"]) == (404, "LEASE_NOT_FOUND")


async def test_cancelling_a_queued_run(client: httpx.AsyncClient, services: Services, dispatch: Dispatch) -> None:
    run = await dispatch(callback_url="http://127.0.0.1:9/hook")
    first = await client.post(f"/v1/runs/{run['id']}/cancellation")
    assert (first.status_code, first.json()["status_code"]) == (201, "cancelled")
    second = await client.post(f"/v1/runs/{run['id']}/cancellation")
    assert second.status_code == 200
    assert await lane_counts(services, run["id"]) == (0, 0)
    assert [row.event_type_code for row in await deliveries(services, run["id"])] == ["run.cancelled"]


async def test_cancelling_a_running_run_reaches_its_worker_and_late_results_are_dropped(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    await worker.heartbeat(lease)
    output = await worker.upload(lease)
    assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    assert (await worker.heartbeat(lease)).json()["cancel"] is True
    late = await worker.complete(lease, outputs=[output], timings={"execute_ms": 700})
    assert late.json()["status_code"] == "cancelled"
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert read["status_code"] == "cancelled" and read["output"] is None
    assert read["attempts"][0]["execute_ms"] == 700
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_objects_of_failed_attempts_are_swept(
    services: Services, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lease = await leased(dispatch, worker)
    output = await worker.upload(lease)
    await worker.fail(lease, "EXECUTION_FAILED")
    assert await services.storage.head(output["object_key"]) is not None
    monkeypatch.setattr("runflow.queue.sweeper.OBJECTS_AFTER_SECONDS", -1.0)
    assert await Sweeper(services).sweep_objects() >= 1
    assert await services.storage.head(output["object_key"]) is None


async def test_waiting_for_a_run_answers_when_it_ends(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    import asyncio

    run, lease = await leased(dispatch, worker)
    waiting = asyncio.create_task(client.get(f"/v1/runs/{run['id']}?wait=30"))
    await worker.fail(lease, "EXECUTION_FAILED")
    async with asyncio.timeout(25):
        read = await waiting
    assert read.json()["status_code"] == "failed"


async def test_the_run_list_of_a_workflow_filters_and_pages(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    runs = [await dispatch(client_ref=f"ref-{number}") for number in range(5)]
    lease = await worker.lease()
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    path = f"/v1/comfyui-workflows/{workflow.path}/runs"
    seen: list[str] = []
    cursor = None
    while True:
        page = (await client.get(path, params={"limit": 2, **({"pq": cursor} if cursor else {})})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        assert page["next_pq"] == cursor
        if cursor is None:
            break
    assert seen == [run["id"] for run in reversed(runs)]
    failed = await client.get(path, params={"q": "status_code:failed AND client_ref.eq:'ref-0'", "fields": "id,cost"})
    assert [set(item) for item in failed.json()["items"]] == [{"id", "cost"}]
    assert (await other_client.get(path)).status_code == 404
    bad = await client.get(path, params={"q": "nothing:1"})
    assert (bad.status_code, bad.json()["code"]) == (400, "INVALID_FILTER")


async def test_no_result_is_refused_over_a_clock(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    times = {"started_at": "2031-01-01T00:00:00Z", "completed_at": "2030-12-31T23:00:00"}
    node = {"node_id": "4", "node_type": "Anything", "state_code": "succeeded", "duration_ms": -3_600_000, **times}
    timings = {"started_at": "2031-01-01T00:00:00", "execute_ms": -3_500_000, "upload_ms": 10**12}
    output = await worker.upload(lease)
    answer = await worker.complete(lease, outputs=[output], timings=timings, nodes=[node])
    assert answer.status_code == 200, answer.text
    read = (await client.get(f"/v1/runs/{run['id']}?embed=node_runs,attempts")).json()
    assert (read["status_code"], read["node_runs"][0]["duration_ms"]) == ("succeeded", 0)
    assert (read["attempts"][0]["execute_ms"], read["attempts"][0]["upload_ms"]) == (0, 10**9)
    assert read["duration_ms"] >= 0 and read["started_at"] <= read["completed_at"]
