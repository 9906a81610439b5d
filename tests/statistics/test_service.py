"""Statistics, against a plain computation over the same runs."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Json

from runflow.ids import new_id
from runflow.statistics import queries
from runflow.web.services import Services
from tests.support.deployed import Deployed
from tests.support.priced_runs import Execute

DAY = datetime(2026, 3, 10, tzinfo=UTC)

_INSERT = """
    INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, status_code, input, lane_id,
                      gpu_class, timeout_seconds, created_at, started_at, completed_at, duration_ms, cost, gpu_seconds,
                      failure_code, cold_start, waited_ms, machine_ms, runtime_ms, model_ms, engine_ms, cold_machine,
                      cold_runtime, cold_model)
    SELECT r.id, w.org_id, w.id, w.version_id, w.version, r.status, '{}', r.id, 'CPU', 60, r.created, r.started,
           r.completed, r.duration_ms, r.cost, r.gpu_seconds, r.failure, r.cold,
           r.waited, r.machine, r.runtime, r.model, r.engine, r.machine > 0, r.runtime > 0, r.model > 0
    FROM workflows w, json_to_recordset(%(runs)s) AS r(
        id uuid, status text, created timestamptz, started timestamptz, completed timestamptz, duration_ms integer,
        cost numeric, gpu_seconds numeric, failure text, cold boolean,
        waited integer, machine integer, runtime integer, model integer, engine integer)
    WHERE w.id = %(workflow)s
"""


PARTS = ("machine", "runtime", "model", "engine")


def made(
    minutes: float, status: str = "succeeded", queue: int | None = 100, execution: int = 1000, **more: Any
) -> dict[str, Any]:
    """A run created so many minutes after `DAY`; times in milliseconds."""
    created = DAY + timedelta(minutes=minutes)
    started = None if queue is None else created + timedelta(milliseconds=queue)
    total = (queue or 0) + execution
    return {
        "id": new_id(),
        "status": status,
        "created": created,
        "started": started,
        "completed": None if status == "running" else created + timedelta(milliseconds=total),
        "duration_ms": None if status == "running" else total,
        "cost": more.get("cost", 0),
        "gpu_seconds": more.get("gpu_seconds", 0),
        "failure": more.get("failure"),
        "cold": more.get("cold", False),
        "waited": None if queue is None else queue,
        **{part: more.get(part, 0) for part in PARTS},
    }


async def keep(services: Services, workflow: Deployed, runs: list[dict[str, Any]]) -> None:
    async with services.db.system() as transaction:
        values = {"workflow": UUID(workflow.id), "runs": Json(runs)}
        await transaction.run("DELETE FROM runs WHERE comfyui_workflow_id = %(workflow)s", values)
        await transaction.run(_INSERT, values)


async def stats(client: httpx.AsyncClient, workflow: Deployed, **query: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow.id}/run-performance-stats", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def percentile(values: list[int], share: float) -> float | None:
    """The one between two neighbours, as statistics books and PostgreSQL's percentile_cont have it."""
    if not values:
        return None
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))


A_RUN = st.builds(
    made,
    minutes=st.floats(0, 2 * 24 * 60 - 1),
    status=st.sampled_from(["succeeded", "failed", "cancelled", "running"]),
    queue=st.one_of(st.none(), st.integers(0, 100_000)),
    execution=st.integers(0, 100_000),
    machine=st.integers(0, 1000),
    runtime=st.integers(0, 1),
    model=st.integers(0, 1000),
    engine=st.integers(0, 1000),
)


@given(runs=st.lists(A_RUN, max_size=25))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_the_numbers_are_those_of_a_plain_computation(
    services: Services, client: httpx.AsyncClient, workflow: Deployed, runs: list[dict[str, Any]]
) -> None:
    await keep(services, workflow, runs)
    found = await stats(client, workflow, **{"from": "2026-03-10", "to": "2026-03-11", "bucket": "day"})
    judged = [run for run in runs if run["status"] in ("succeeded", "failed")]
    waits = [run for run in judged if run["started"] is not None]
    queued = {str(run["id"]): (run["started"] - run["created"]) // timedelta(milliseconds=1) for run in waits}
    expected = {
        "queue": list(queued.values()),
        "execution": [run["duration_ms"] - queued[str(run["id"])] for run in waits],
        "total": [run["duration_ms"] for run in judged],
    }
    for name, values in expected.items():
        latency = found["latency_ms"][name]
        for label, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            assert latency[label] == pytest.approx(percentile(values, share), abs=0.051), (name, label)
        assert latency["max"] == (max(values) if values else None)
        assert latency["avg"] == (pytest.approx(sum(values) / len(values), abs=0.051) if values else None)
    parts = {part: [run[part] for run in waits] for part in PARTS}
    parts["queue"] = [run["waited"] - sum(run[part] for part in PARTS) for run in waits]
    for part, values in parts.items():
        wait = found["wait_ms"][part]
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            assert wait[label] == pytest.approx(percentile(values, share), abs=0.051), (part, label)
        assert wait["max"] == (max(values) if values else None)
        assert wait["avg"] == (pytest.approx(sum(values) / len(values), abs=0.051) if values else None)
    for cause in ("machine", "runtime", "model"):
        assert found["totals"]["cold_starts_by_cause"][cause] == sum(run[cause] > 0 for run in runs)
    assert [step["start"] for step in found["series"]] == ["2026-03-10T00:00:00+00:00", "2026-03-11T00:00:00+00:00"]
    for day, step in enumerate(found["series"]):
        of_day = [run for run in runs if (run["created"] - DAY).days == day]
        totals = [run["duration_ms"] for run in of_day if run in judged]
        assert step["runs"] == len(of_day)
        assert step["p50_total_ms"] == pytest.approx(percentile(totals, 0.5), abs=0.051)
        assert step["p95_total_ms"] == pytest.approx(percentile(totals, 0.95), abs=0.051)
    for status in ("succeeded", "failed", "cancelled"):
        assert found["totals"][status] == sum(run["status"] == status for run in runs)
    assert found["totals"]["runs"] == len(runs)


async def test_an_empty_range_gives_zeros_and_nulls(client: httpx.AsyncClient, workflow: Deployed) -> None:
    found = await stats(client, workflow)
    assert found["totals"] == {
        "runs": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
        "success_rate": None,
        "gpu_seconds": 0.0,
        "cost": "0.000000",
        "cold_starts": 0,
        "cold_starts_by_cause": {"machine": 0, "runtime": 0, "model": 0, "engine": 0},
    }
    assert found["wait_ms"]["engine"] == dict.fromkeys(("p50", "p90", "p95", "p99", "avg", "max"))
    assert found["latency_ms"]["total"] == dict.fromkeys(("p50", "p90", "p95", "p99", "avg", "max"))
    assert found["failures"] == []
    assert len(found["series"]) == 31
    assert {step["runs"] for step in found["series"]} == {0}


async def test_sums_rates_and_failures(services: Services, client: httpx.AsyncClient, workflow: Deployed) -> None:
    runs = [
        made(1, cost=0.25, gpu_seconds=2.5, cold=True),
        made(2, cost=0.5, gpu_seconds=1),
        made(3, "failed", failure="OUT_OF_MEMORY", gpu_seconds=1),
        made(4, "failed", failure="EXECUTION_FAILED"),
        made(5, "failed", failure="OUT_OF_MEMORY"),
        made(6, "cancelled", queue=None, cost=0.125),
        made(7, "failed", failure="EXECUTION_FAILED"),
    ]
    await keep(services, workflow, runs)
    found = await stats(client, workflow, **{"from": "2026-03-10", "to": "2026-03-10"})
    assert found["totals"]["success_rate"] == 0.3333
    assert (found["totals"]["cost"], found["totals"]["gpu_seconds"]) == ("0.875000", 4.5)
    assert found["totals"]["cold_starts"] == 1
    assert found["failures"] == [
        {"failure_code": "EXECUTION_FAILED", "count": 2},
        {"failure_code": "OUT_OF_MEMORY", "count": 2},
    ]


async def test_percentiles_of_very_many_runs_are_those_of_a_sample(
    services: Services, client: httpx.AsyncClient, workflow: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SAMPLE", 400)
    await keep(services, workflow, [made(1, queue=at, execution=1000) for at in range(2000)])
    range_ = {"from": "2026-03-10", "to": "2026-03-10"}
    found = await stats(client, workflow, **range_)
    queue = found["latency_ms"]["queue"]
    assert queue["p50"] == pytest.approx(1000, abs=200)  # four standard errors: 4 √(0.25 / 400) · 2000
    assert queue["p50"] != 999.5
    assert (found["totals"]["succeeded"], queue["max"], queue["avg"]) == (2000, 1999, 999.5)
    assert await stats(client, workflow, **range_) == found


async def test_hours_of_another_time_zone_are_the_same_moments(
    services: Services, client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await keep(services, workflow, [made(29), made(31), made(95)])
    asked = {"from": "2026-03-10T06:00:00+05:30", "to": "2026-03-10T07:00:00+05:30", "bucket": "hour"}
    found = await stats(client, workflow, **asked)
    assert (found["from"], found["to"]) == ("2026-03-10T00:30:00+00:00", "2026-03-10T01:30:00+00:00")
    assert [(step["start"], step["runs"]) for step in found["series"]] == [
        ("2026-03-10T00:00:00+00:00", 1),
        ("2026-03-10T01:00:00+00:00", 0),
    ]


async def test_a_run_through_a_worker_is_counted(
    execute: Execute, client: httpx.AsyncClient, workflow: Deployed
) -> None:
    run = await execute(prepare_ms=500, execute_ms=2000)
    found = await stats(client, workflow)
    assert (found["totals"]["runs"], found["totals"]["success_rate"]) == (1, 1.0)
    assert (found["totals"]["gpu_seconds"], found["totals"]["cost"]) == (2.5, "0.002000")
    assert found["latency_ms"]["total"]["p50"] == run["duration_ms"]
    assert found["series"][-1]["runs"] == 1


async def test_nobody_sees_another_organization_s_runs(
    execute: Execute, client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await execute(execute_ms=10)
    path = f"/v1/comfyui-workflows/{workflow.id}/run-performance-stats"
    answer = await other_client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    answer = await other_client.get(path)
    assert (answer.status_code, answer.json()["totals"]["runs"]) == (200, 0)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-03-02", "to": "2026-03-01T00:00:00Z"}, "from"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, "from"),
        ({"from": "2026-01-01", "to": "2026-06-01", "bucket": "hour"}, "bucket"),
        ({"bucket": "week"}, "bucket"),
        ({"to": "0001-01-01"}, "to"),
        ({"from": "\0"}, "from"),
    ],
)
async def test_a_bad_range_is_named(
    client: httpx.AsyncClient, workflow: Deployed, query: dict[str, str], parameter: str
) -> None:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow.id}/run-performance-stats", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["query", parameter]
