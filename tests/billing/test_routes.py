"""Usage in groups, paged, with totals."""

from datetime import UTC, datetime

import httpx
import pytest

from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.priced_runs import Execute


async def test_usage_adds_up_attempts(
    execute: Execute, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient, priced: Deployed
) -> None:
    run = await execute(prepare_ms=500, execute_ms=2000)
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it."}
    await worker.complete(lease, "failed", error=error, timings={"execute_ms": 1000})
    answer = await client.get("/v1/usage?group_by=day,workflow,api_key,gpu")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    sums = {"runs": 2, "attempts": 2, "gpu_seconds": 3.5, "billable_seconds": 2.0, "cost": "0.002000"}
    assert found["totals"] == sums
    (row,) = found["items"]
    today = datetime.now(UTC).date().isoformat()
    assert {name: row[name] for name in ("day", "comfyui_workflow_id", "api_key_id", "gpu_code")} == {
        "day": today,
        "comfyui_workflow_id": priced.id,
        "api_key_id": run["created_by"],
        "gpu_code": priced.gpu,
    }
    assert {name: row[name] for name in sums} == sums
    assert found["group_by"] == ["day", "workflow", "api_key", "gpu"]


async def test_what_was_not_grouped_by_is_null(execute: Execute, client: httpx.AsyncClient, priced: Deployed) -> None:
    await execute(execute_ms=1000)
    (row,) = (await client.get("/v1/usage?group_by=gpu")).json()["items"]
    assert (row["gpu_code"], row["day"], row["comfyui_workflow_id"], row["api_key_id"]) == (
        priced.gpu,
        None,
        None,
        None,
    )


async def test_pages_filters_and_order(
    execute: Execute, client: httpx.AsyncClient, services: object, priced: Deployed
) -> None:
    await execute(execute_ms=1000)
    copy = await client.post(
        "/v1/comfyui-workflows",
        json={
            "name": "Copy",
            "workflow_json": {
                "9": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["4", 0]}},
                "4": {"class_type": "Anything", "inputs": {}},
            },
            "gpu_mode": "explicit",
            "gpu_explicit_models": [priced.gpu],
        },
    )
    assert copy.status_code == 201, copy.text
    whole = (await client.get("/v1/usage?group_by=day,workflow&limit=1&sort_by=cost:desc")).json()
    assert len(whole["items"]) == 1
    assert whole["next"] is None
    none = (await client.get("/v1/usage", params={"group_by": "workflow", "q": "cost > 5"})).json()
    assert none["items"] == []
    assert none["totals"]["cost"] == "0.001000"
    some = (await client.get("/v1/usage", params={"group_by": "workflow", "fields": "cost,runs"})).json()
    assert some["items"] == [{"runs": 1, "cost": "0.001000"}]


async def test_an_empty_range_gives_zeros(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/usage?from=2020-01-01&to=2020-01-31")).json()
    assert found["items"] == []
    assert found["totals"] == {
        "runs": 0,
        "attempts": 0,
        "gpu_seconds": 0.0,
        "billable_seconds": 0.0,
        "cost": "0.000000",
    }
    assert (found["from"], found["to"]) == ("2020-01-01T00:00:00+00:00", "2020-02-01T00:00:00+00:00")


async def test_usage_is_one_organization_s_own(execute: Execute, other_client: httpx.AsyncClient) -> None:
    await execute(execute_ms=1000)
    assert (await other_client.get("/v1/usage")).json()["totals"]["attempts"] == 0


@pytest.mark.parametrize("groups", ["month", "day,month", ",", "\0"])
async def test_an_unknown_group_is_named(client: httpx.AsyncClient, groups: str) -> None:
    answer = await client.get("/v1/usage", params={"group_by": groups})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "group_by"])


async def test_a_sort_key_of_another_grouping_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/usage?group_by=gpu&sort_by=day:asc")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_SORT")
