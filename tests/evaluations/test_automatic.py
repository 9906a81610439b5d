"""Every image output of a workflow that asked for it is evaluated; the run's record tells."""

import asyncio
from typing import Any

import httpx
import pytest

from runflow.evaluations.automatic import given
from runflow.graph import Interface
from runflow.web.services import Services
from tests.evaluations.conftest import ended
from tests.support.deployed import Deployed, Dispatch, Worker


@pytest.fixture
async def watched(services: Services, workflow: Deployed, client: httpx.AsyncClient) -> Deployed:
    """The workflow, evaluated automatically."""
    answer = await client.patch(
        f"/v1/comfyui-workflows/{workflow.id}", json={"auto_evaluate": True, "evaluation_task_type": "headshot"}
    )
    assert answer.status_code == 200, answer.text
    return workflow


async def finish(worker: Worker, *contents: bytes) -> None:
    lease = await worker.lease(wait=20)
    assert lease is not None
    outputs = [await worker.upload(lease, content, number) for number, content in enumerate(contents)]
    answer = await worker.complete(lease, outputs=outputs)
    assert answer.status_code == 200, answer.text


async def of_run(client: httpx.AsyncClient, run: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/runs/{run['id']}/evaluations")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_each_image_is_evaluated_and_the_run_sums_it_up(
    client: httpx.AsyncClient, watched: Deployed, worker: Worker, dispatch: Dispatch, good_png: bytes, black_png: bytes
) -> None:
    run = await dispatch()
    assert run["current_evaluation_summary"] is None
    await finish(worker, good_png, black_png)
    made = await of_run(client, run)
    assert len(made) == 2
    found = [await ended(client, item["id"]) for item in made]
    assert sorted(item["overall_passed"] for item in found) == [False, True]
    assert {item["task_type"] for item in found} == {"headshot"}
    assert {item["generation_prompt"] for item in found} == {"an otter"}
    assert all(item["is_automatic"] and item["cost"] == "0.000000" for item in found)
    assert all(item["input_attributes"] == {"prompt": "an otter", "steps": 4} for item in found)
    assert all(item["run"]["id"] == run["id"] and item["output_id"] == "picture" for item in found)
    assert (await client.get(found[0]["generated_image_url"])).status_code == 200
    record = (await client.get(f"/v1/runs/{run['id']}")).json()
    summary = record["current_evaluation_summary"]
    assert (summary["passed"], summary["status_code"]) == (False, "completed") and 0.3 < summary["score"] < 0.6
    (listed,) = (await client.get("/v1/runs?fields=id,current_evaluation_summary")).json()["items"]
    assert listed == {"id": run["id"], "current_evaluation_summary": summary}


async def test_feedback_through_the_run_shows_on_the_run(
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    watched: Deployed,
    worker: Worker,
    dispatch: Dispatch,
    good_png: bytes,
) -> None:
    run = await dispatch()
    await finish(worker, good_png)
    (made,) = await of_run(client, run)
    path = f"/v1/runs/{run['id']}/evaluations/{made['id']}/feedback"
    answer = await client.patch(path, json={"is_positive": False, "reason": "too pale"})
    assert answer.status_code == 200, answer.text
    record = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (record["feedback_is_positive"], record["feedback_reason"]) == (False, "too pale")
    other = await dispatch()
    wrong = f"/v1/runs/{other['id']}/evaluations/{made['id']}/feedback"
    assert (await client.patch(wrong, json={"is_positive": True})).json()["code"] == "EVALUATION_NOT_FOUND"
    foreign = await other_client.patch(path, json={"is_positive": True})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "RUN_NOT_FOUND")
    foreign = await other_client.get(f"/v1/runs/{run['id']}/evaluations")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "RUN_NOT_FOUND")
    events = (await client.get("/v1/audit-events?q=action_code:evaluation.feedback_set")).json()
    assert [event["target_id"] for event in events["items"]] == [made["id"]]


async def test_nothing_is_evaluated_where_nobody_asked_for_it(
    client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch, good_png: bytes
) -> None:
    run = await dispatch()
    await finish(worker, good_png)
    assert await of_run(client, run) == []
    record = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert record["status_code"] == "succeeded" and record["current_evaluation_summary"] is None


async def test_a_failed_run_is_not_evaluated(
    client: httpx.AsyncClient, watched: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    run = await dispatch()
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    assert await of_run(client, run) == []


async def test_an_evaluation_of_a_run_s_output_by_its_signed_url(
    client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch, good_png: bytes
) -> None:
    run = await dispatch()
    await finish(worker, good_png)
    url = (await client.get(f"/v1/runs/{run['id']}")).json()["output"]["outputs"][0]["url"]
    assert url.startswith("http://")
    body = {"generated_image_url": url, "task_type": "headshot", "run_id": run["id"]}
    made = (await client.post("/v1/evaluations", json=body)).json()
    found = await ended(client, made["id"])
    assert (found["status_code"], found["overall_passed"], found["run_id"]) == ("completed", True, run["id"])
    assert found["comfyui_workflow_id"] == run["comfyui_workflow_id"] and not found["is_automatic"]
    broken = url.replace("signature=", "signature=A")
    answer = await client.post("/v1/evaluations", json={**body, "generated_image_url": broken})
    assert answer.status_code == 422


def interface(**types: str) -> Interface:
    inputs = [
        {
            "name": name,
            "variable_type_code": kind,
            "display_name": name,
            "description": "",
            "is_required": False,
            "default_value": 512 if name == "width" else None,
            "sort_order": number,
            "comfyui_node_id": str(number),
            "comfyui_field_name": "value",
            "origin": "node",
        }
        for number, (name, kind) in enumerate(types.items())
    ]
    return Interface.from_dict({"inputs": inputs, "outputs": []})


def test_what_a_run_was_given_becomes_prompt_attributes_and_references() -> None:
    declared = interface(negative_prompt="string", my_prompt="string", style="string", width="int", photo="image")
    values = {
        "negative_prompt": "a very long list of things that nobody wants to see",
        "my_prompt": "an otter",
        "style": "oil",
        "photo": "runflow://assets/0197f3a0-0000-7000-8000-000000000000",
    }
    prompt, attributes, references = given(declared, values)
    assert prompt == "an otter"
    assert attributes["width"] == 512 and "photo" not in attributes
    assert references == [{"url": values["photo"], "kind": "input", "description": "photo"}]


def test_without_a_known_name_the_longest_text_is_the_prompt() -> None:
    prompt, _, _ = given(interface(a="string", b="string"), {"a": "short", "b": "a longer text"})
    assert prompt == "a longer text"
    assert given(interface(a="int"), {"a": 3})[0] is None


async def test_two_server_processes_at_once_evaluate_each_image_once(
    client: httpx.AsyncClient, services: Services, good_png: bytes
) -> None:
    from runflow.evaluations.runner.runner import EvaluationRunner
    from runflow.outgoing import GuardedClient
    from tests.evaluations.conftest import submit

    async with GuardedClient.from_settings(services.settings) as outgoing:
        second = asyncio.create_task(EvaluationRunner(services, outgoing).run())
        try:
            made = [await submit(client, good_png) for _ in range(6)]
            found = [await ended(client, item["id"]) for item in made]
        finally:
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
    assert all(item["attempt_number"] == 1 and len(item["judges"]) == 4 for item in found)
