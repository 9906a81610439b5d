"""Reruns: the same input on the current version, or on the run's own."""

from typing import Any

import httpx
import pytest

from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker

OTHER_INPUTS = {
    **{node: body for node, body in PROMPT.items() if node != "2"},
    "4": {"class_type": "Anything", "inputs": {"text": ["1", 0], "image": ["3", 0]}},
}


async def test_a_rerun_repeats_input_and_references(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch(
        input={"prompt": "x", "steps": 3}, client_ref="r", metadata={"a": 1}, callback_url="http://127.0.0.1:9/hook"
    )
    answer = await client.post(f"/v1/runs/{run['id']}/reruns")
    assert answer.status_code == 201, answer.text
    again = answer.json()
    assert (again["source_code"], again["rerun_of"], again["status_code"]) == ("rerun", run["id"], "queued")
    assert again["id"] != run["id"]
    for name in ("input", "client_ref", "metadata", "callback_url", "target_version", "comfyui_workflow_id"):
        assert again[name] == run[name], name
    assert (await client.get(f"/v1/runs/{again['id']}")).json()["rerun_of"] == run["id"]
    body = {"client_ref": "s", "metadata": None, "callback_url": None}
    changed = (await client.post(f"/v1/runs/{run['id']}/reruns", json=body)).json()
    assert (changed["client_ref"], changed["metadata"], changed["callback_url"]) == ("s", None, None)
    listed = (await client.get("/v1/runs", params={"q": f"rerun_of:{run['id']}", "fields": "id"})).json()["items"]
    assert [one["id"] for one in listed] == [changed["id"], again["id"]]


async def test_the_current_version_judges_the_input_and_the_pinned_one_still_takes_it(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch(input={"prompt": "x", "steps": 3})
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": OTHER_INPUTS})
    refused = await client.post(f"/v1/runs/{run['id']}/reruns")
    assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR")
    assert refused.json()["errors"][0]["loc"][-1] == "steps"
    pinned = await client.post(f"/v1/runs/{run['id']}/reruns", json={"version": "pinned"})
    assert (pinned.status_code, pinned.json()["target_version"]) == (201, "1")
    other = await dispatch(input={"prompt": "y"})
    current = await client.post(f"/v1/runs/{other['id']}/reruns", json={"version": "current"})
    assert current.json()["target_version"] == "2"
    versions = []
    while (lease := await worker.lease()) is not None:  # other tests may have left runs that any may serve
        versions.append((lease["run_id"], lease["version"]["number"]))
    assert (pinned.json()["id"], 1) in versions and (current.json()["id"], 2) in versions


async def test_a_rerun_follows_the_workflow_and_not_its_name(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    run = await dispatch()
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"slug": "renamed"})
    assert (await client.post(f"/v1/runs/{run['id']}/reruns")).status_code == 201
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"status_code": "disabled"})
    refused = await client.post(f"/v1/runs/{run['id']}/reruns")
    assert (refused.status_code, refused.json()["code"]) == (409, "WORKFLOW_DISABLED")
    await client.delete(f"/v1/comfyui-workflows/{workflow.id}")
    for version in ("current", "pinned"):
        gone = await client.post(f"/v1/runs/{run['id']}/reruns", json={"version": version})
        assert (gone.status_code, gone.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")


async def test_a_public_workflow_s_run_is_repeated_while_it_is_public(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    path = f"/v1/comfyui-workflows/{workflow.id}"
    await client.patch(path, json={"is_public": True})
    run = await other_client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    assert run.status_code == 201, run.text
    again = await other_client.post(f"/v1/runs/{run.json()['id']}/reruns")
    assert again.status_code == 201 and again.json()["org_id"] == run.json()["org_id"]
    await client.patch(path, json={"is_public": False})
    refused = await other_client.post(f"/v1/runs/{run.json()['id']}/reruns")
    assert (refused.status_code, refused.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {"version": "2"},
        {"version": None},
        {"version": "old"},
        {"priority": 11},
        {"input": {}},
        [],
        {"client_ref": "a\0"},
    ],
)
async def test_a_malformed_rerun_is_refused(client: httpx.AsyncClient, dispatch: Dispatch, body: Any) -> None:
    run = await dispatch()
    answer = await client.post(f"/v1/runs/{run['id']}/reruns", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")


async def test_a_foreign_run_cannot_be_repeated(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch()
    answer = await other_client.post(f"/v1/runs/{run['id']}/reruns")
    assert (answer.status_code, answer.json()["code"]) == (404, "RUN_NOT_FOUND")
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_a_rerun_may_name_a_version_and_a_priority(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    first = await dispatch(input={"prompt": "x"}, priority=4)
    for _ in range(2):
        prompt = {**OTHER_INPUTS, str(_ + 20): {"class_type": "Anything", "inputs": {}}}
        await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": prompt})
    address = f"/v1/runs/{first['id']}/reruns"
    for version in (1, "2", 3):
        run = (await client.post(address, json={"version": version})).json()
        assert (run["target_version"], run["priority"]) == (str(version), 0), "a priority is not taken over"
    assert (await client.post(address, json={"priority": 2})).json()["priority"] == 2
    unknown = await client.post(address, json={"version": 4})
    assert (unknown.status_code, unknown.json()["errors"][0]["loc"]) == (422, ["body", "version"])
    assert "There are 3, 2, 1." in unknown.json()["message"]


async def test_a_stranger_repeats_a_public_workflow_s_run_on_its_own_version_or_the_current_one(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    body = {"input": {"prompt": "x"}}
    run = (await other_client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)).json()
    for number in range(2):
        prompt = {**OTHER_INPUTS, str(number + 20): {"class_type": "Anything", "inputs": {}}}
        await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": prompt})
    for version, expected in ((1, 201), ("pinned", 201), (3, 201), (2, 422), (9, 422)):
        again = await other_client.post(f"/v1/runs/{run['id']}/reruns", json={"version": version})
        assert again.status_code == expected, (version, again.text)
