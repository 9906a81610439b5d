"""Statistics of a workflow's evaluations: own rows only, zeros where there is nothing."""

from typing import Any

import httpx

from runflow.ids import new_id
from runflow.web.services import Services
from tests.evaluations.conftest import ended, submit
from tests.support.deployed import Deployed, Dispatch


async def stats(client: httpx.AsyncClient, workflow: Deployed, **query: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow.id}/evaluation-stats", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_without_evaluations_there_are_zeros_and_nulls(client: httpx.AsyncClient, workflow: Deployed) -> None:
    found = await stats(client, workflow)
    assert found["totals"] == {"evaluated": 0, "passed": 0, "failed": 0, "pass_rate": None, "average_score": None}
    assert (found["issues"], found["feedback"]) == ([], {"positive": 0, "negative": 0})
    assert 30 <= len(found["series"]) <= 31 and all(step["evaluated"] == 0 for step in found["series"])
    hours = await stats(client, workflow, **{"from": "2026-01-01", "to": "2026-01-01", "bucket": "hour"})
    assert len(hours["series"]) == 24 and hours["series"][0]["start"] == "2026-01-01T00:00:00+00:00"


async def test_verdicts_issues_and_feedback_are_counted(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, good_png: bytes, black_png: bytes
) -> None:
    run = (await dispatch())["id"]
    images = (good_png, black_png, black_png)
    made = [await ended(client, (await submit(client, image, run_id=run))["id"]) for image in images]
    for item, liked in zip(made, (True, False, False), strict=True):
        await client.patch(f"/v1/evaluations/{item['id']}/feedback", json={"is_positive": liked})
    found = await stats(client, workflow)
    assert (found["totals"]["evaluated"], found["totals"]["passed"], found["totals"]["failed"]) == (3, 1, 2)
    assert found["totals"]["pass_rate"] == 0.3333
    assert abs(found["totals"]["average_score"] - made[0]["score"] / 3) < 0.001
    assert found["issues"] == [{"category": "broken_output", "subcategory": "black", "count": 2}]
    assert found["feedback"] == {"positive": 1, "negative": 2}
    assert sum(step["evaluated"] for step in found["series"]) == 3 == found["series"][-1]["evaluated"]
    categories = await client.get(f"/v1/comfyui-workflows/{workflow.path}/evaluation-issue-categories")
    assert categories.json() == {"items": found["issues"]}
    past = await stats(client, workflow, **{"from": "2026-01-01", "to": "2026-01-31"})
    assert past["totals"]["evaluated"] == 0


async def test_foreign_and_unknown_workflows_are_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed, services: Services
) -> None:
    for path in (
        f"/v1/comfyui-workflows/{workflow.id}/evaluation-stats",
        f"/v1/comfyui-workflows/{workflow.path}/evaluation-issue-categories",
        f"/v1/comfyui-workflows/{new_id()}/evaluation-stats",
    ):
        answer = await other_client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    bad = await client.get(f"/v1/comfyui-workflows/{workflow.id}/evaluation-stats?from=yesterday")
    assert (bad.status_code, bad.json()["code"]) == (422, "VALIDATION_ERROR")
