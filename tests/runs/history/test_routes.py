"""Logs, node runs and attempts over HTTP."""

from typing import Any
from uuid import UUID

import httpx

from runflow.ids import new_id
from runflow.runs.history.schemas import Attempt, LogLine, NodeRun
from tests.support.deployed import Dispatch, Worker


def line(number: int, level: Any, message: Any, **more: Any) -> dict[str, Any]:
    at = f"2026-01-01T00:00:{number:02}+00:00"
    return {"number": number, "type": "log", "at": at, "data": {"level_code": level, "message": message, **more}}


async def logged(dispatch: Dispatch, worker: Worker) -> dict[str, Any]:
    """A run with a log, two node runs and two attempts."""
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    lines = [line(1, "info", "loading"), line(2, "warning", "slow\0 disk"), line(3, "fatal", "odd", code=7)]
    answer = await worker.heartbeat(lease, *lines)
    assert answer.status_code == 200, answer.text
    await worker.fail(lease, "ENGINE_CRASHED", retryable=True)
    lease = await worker.lease()
    assert lease is not None
    nodes = [
        {"node_id": "4", "node_type": "Paint", "state_code": "succeeded", "duration_ms": 12},
        {"node_id": "9", "node_type": "Save", "state_code": "failed", "error_message": "disk full"},
    ]
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it."}
    await worker.complete(lease, "failed", error=error, nodes=nodes)
    return run


async def test_log_lines_are_listed_filtered_and_read(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await logged(dispatch, worker)
    path = f"/v1/runs/{run['id']}/logs"
    lines = (await client.get(path)).json()["items"]
    assert [one["message"] for one in lines] == ["odd", "slow\ufffd disk", "loading"]
    assert [one["level_code"] for one in lines] == ["info", "warning", "info"]
    assert lines[0]["meta"] == {"code": 7} and lines[2]["meta"] is None
    for one in lines:
        LogLine.model_validate(one)
        assert one["run_id"] == run["id"]
    for q, found in (
        ("level_code:warning", ["slow\ufffd disk"]),
        ("message.like:'load%'", ["loading"]),
        ("timestamp >= 2026-01-01T00:00:02+00:00 AND NOT level_code:warning", ["odd"]),
        (f"run_id:{run['id']} AND number > 1000002", ["odd"]),
    ):
        answer = (await client.get("/v1/runs/any/logs", params={"q": q})).json()
        assert [one["message"] for one in answer["items"]] == found, q
    ascending = await client.get(path, params={"sort_by": "number:asc", "limit": 1, "fields": "message"})
    assert ascending.json()["items"] == [{"message": "loading"}]
    for owner in (run["id"], "any"):
        one = await client.get(f"/v1/runs/{owner}/logs/{lines[0]['id']}", params={"embed": "run"})
        assert one.json()["run"]["id"] == run["id"]
        assert {name: value for name, value in one.json().items() if name != "run"} == lines[0]
    embedded = (await client.get(f"/v1/runs/{run['id']}?embed=logs")).json()["logs"]
    assert embedded == lines[::-1]


async def test_node_runs_and_attempts_are_listed_and_read(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await logged(dispatch, worker)
    nodes = (await client.get(f"/v1/runs/{run['id']}/node-runs", params={"sort_by": "node_id:asc"})).json()["items"]
    assert [(node["node_id"], node["state_code"]) for node in nodes] == [("4", "succeeded"), ("9", "failed")]
    for node in nodes:
        NodeRun.model_validate(node)
    found = (await client.get("/v1/runs/any/node-runs", params={"q": "state_code:failed AND node_type:Save"})).json()
    assert found["items"] == [nodes[1]]
    assert (await client.get(f"/v1/runs/any/node-runs/{nodes[0]['id']}")).json() == nodes[0]
    attempts = (await client.get(f"/v1/runs/{run['id']}/attempts")).json()["items"]
    assert [(attempt["number"], attempt["failure_code"]) for attempt in attempts] == [
        (1, "ENGINE_CRASHED"),
        (2, "EXECUTION_FAILED"),
    ]
    for attempt in attempts:
        Attempt.model_validate(attempt)
    last = await client.get(f"/v1/runs/{run['id']}/attempts", params={"q": "number > 1", "fields": "number"})
    assert last.json()["items"] == [{"number": 2}]


async def test_node_runs_of_one_report_are_listed_by_their_turn_the_last_one_first(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    turns = [str(number) for number in (7, 3, 12, 1, 9, 4, 30, 2, 8)]
    nodes = [{"node_id": turn, "node_type": "Paint", "state_code": "succeeded"} for turn in turns]
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it."}
    await worker.complete(lease, "failed", error=error, nodes=nodes, events=[line(1, "info", "done")])
    listed = (await client.get(f"/v1/runs/{run['id']}/node-runs")).json()["items"]
    assert [node["node_id"] for node in listed] == turns[::-1]
    embedded = (await client.get(f"/v1/runs/{run['id']}?embed=node_runs,logs")).json()
    assert [node["node_id"] for node in embedded["node_runs"]] == turns
    assert {UUID(one["id"]).version for one in embedded["node_runs"] + embedded["logs"]} == {7}


async def test_an_offer_is_no_attempt_yet(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    run = await dispatch()
    assert await worker.lease() is not None
    assert (await client.get(f"/v1/runs/{run['id']}/attempts")).json()["items"] == []


async def test_another_organization_sees_nothing(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await logged(dispatch, worker)
    logs = (await client.get(f"/v1/runs/{run['id']}/logs")).json()["items"]
    nodes = (await client.get(f"/v1/runs/{run['id']}/node-runs")).json()["items"]
    for name in ("logs", "node-runs", "attempts"):
        answer = await other_client.get(f"/v1/runs/{run['id']}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "RUN_NOT_FOUND")
    for name, one, code in (("logs", logs[0], "RUN_LOG_NOT_FOUND"), ("node-runs", nodes[0], "NODE_RUN_NOT_FOUND")):
        assert (await other_client.get(f"/v1/runs/any/{name}")).json()["items"] == []
        for owner in (run["id"], "any"):
            answer = await other_client.get(f"/v1/runs/{owner}/{name}/{one['id']}")
            assert answer.status_code == 404 and answer.json()["code"] == code


async def test_a_run_that_is_not_there_is_a_404(client: httpx.AsyncClient) -> None:
    for name in ("logs", "node-runs"):
        answer = await client.get(f"/v1/runs/{new_id()}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "RUN_NOT_FOUND")
