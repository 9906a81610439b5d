"""Dispatch over HTTP: what is accepted, what is refused and how it is said."""

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.web.services import Services
from tests.support.application import open_client
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_dispatched_run_is_queued_with_the_contract_s_fields(workflow: Deployed, dispatch: Dispatch) -> None:
    run = await dispatch(client_ref="ticket-1", metadata={"a": [1]}, callback_url="https://example.com/hook")
    assert run["status_code"] == run["status"] == "queued"
    assert run["target_type"] == "comfyui_workflow"
    assert run["comfyui_workflow_id"] == workflow.id
    assert run["target_version"] == "1"
    assert run["client_ref"] == "ticket-1"
    assert run["metadata"] == {"a": [1]}
    assert run["output"] is None and run["error"] is None and run["is_terminal"] is False
    assert run["created_at"].endswith("+00:00")
    assert run["input"] == {"prompt": "an otter"}


async def test_a_queued_run_says_why_it_waits(
    client: httpx.AsyncClient, dispatch: Dispatch, workflow: Deployed
) -> None:
    run = await dispatch()
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert workflow.gpu in read["waiting_reason"] or "No worker is connected" in read["waiting_reason"]


@pytest.mark.parametrize(
    ("given", "key", "kind"),
    [
        ({}, "prompt", "missing"),
        ({"prompt": None}, "prompt", "missing"),
        ({"prompt": 3}, "prompt", "type_error"),
        ({"prompt": "x", "steps": True}, "steps", "type_error"),
        ({"prompt": "x", "steps": "four"}, "steps", "type_error"),
        ({"prompt": "x", "photo": "photo.png"}, "photo", "invalid_reference"),
        ({"prompt": "x", "photo": "http://example.com/a.png"}, "photo", "invalid_reference"),
        ({"prompt": "x", "promt": "y"}, "promt", "unknown_input"),
    ],
)
async def test_bad_input_names_each_key(
    client: httpx.AsyncClient, workflow: Deployed, given: dict[str, Any], key: str, kind: str
) -> None:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": given})
    assert answer.status_code == 422
    body = answer.json()
    assert body["code"] == "VALIDATION_ERROR"
    problem = body["errors"][0]
    assert problem["loc"] == ["body", "input", key]
    assert problem["type"] == kind


async def test_an_unknown_key_gets_the_closest_known_one(client: httpx.AsyncClient, workflow: Deployed) -> None:
    body = {"input": {"prompt": "x", "promt": "y"}}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert '"prompt"' in answer.json()["errors"][0]["msg"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": {"prompt": "x"}, "callback_url": "ftp://example.com"},
        {"input": {"prompt": "x"}, "callback_url": "https://user:secret@example.com"},
        {"input": {"prompt": "x"}, "callback_url": "https://example.com/" + "x" * 2048},
        {"input": {"prompt": "x"}, "client_ref": "x" * 256},
        {"input": {"prompt": "x"}, "client_ref": "a\0b"},
        {"input": {"prompt": "x"}, "metadata": []},
        {"input": {"prompt": "x"}, "calback_url": "https://example.com"},
    ],
)
async def test_a_malformed_envelope_is_refused(
    client: httpx.AsyncClient, workflow: Deployed, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize("address", ["http://10.0.0.5/hook", "https://169.254.169.254/", "http://[::1]:9000/x"])
async def test_a_callback_that_can_never_arrive_is_refused_with_the_setting_that_allows_it(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, address: str
) -> None:
    path, values = f"/v1/comfyui-workflows/{workflow.path}", {"prompt": "x"}
    run = await dispatch()
    image = "data:text/plain;base64,eA=="
    for route, body in (
        (f"{path}/runs", {"input": values}),
        (f"{path}/batches", {"input": [values]}),
        (f"/v1/runs/{run['id']}/reruns", {}),
        ("/v1/evaluations", {"generated_image_url": image, "task_type": "x"}),
    ):
        refused = await client.post(route, json={**body, "callback_url": address})
        assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR"), route
        assert "RUNFLOW_ALLOWED_NETWORKS=" in refused.json()["message"]
        fault = refused.json()["errors"][0]
        assert (fault["loc"], fault["type"]) == (["body", "callback_url"], "blocked_address")
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_malformed_json_says_where(client: httpx.AsyncClient, workflow: Deployed) -> None:
    answer = await client.post(
        f"/v1/comfyui-workflows/{workflow.path}/runs",
        content=b'{"input": {"prompt": }}',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_JSON")
    assert "character" in answer.json()["message"]


async def test_explicit_nulls_are_fine(dispatch: Dispatch) -> None:
    run = await dispatch(client_ref=None, callback_url=None, metadata=None)
    assert run["client_ref"] is None


async def test_an_unknown_asset_is_named_and_nothing_else(client: httpx.AsyncClient, workflow: Deployed) -> None:
    ref = "runflow://assets/0197f3a0-0000-7000-8000-000000000000"
    body = {"input": {"prompt": "x", "photo": ref}}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422
    assert ref in answer.json()["errors"][0]["msg"]


async def test_a_foreign_asset_looks_like_an_unknown_one(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    content = png()
    declared = {"filename": "a.png", "mime_type": "image/png", "size_bytes": len(content)}
    session = (await other_client.post("/v1/asset-uploads", json=declared)).json()
    await other_client.put(session["upload_url"], content=content, headers={"Content-Type": "image/png"})
    foreign = (await other_client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations")).json()["id"]
    body = {"input": {"prompt": "x", "photo": f"runflow://assets/{foreign}"}}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == "unknown_asset"


async def test_a_data_uri_becomes_an_asset_that_reads_as_a_signed_url(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    content = png()
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    run = await dispatch(input={"prompt": "x", "photo": uri}, metadata={"thumb": uri})
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    for url in (read["input"]["photo"], read["metadata"]["thumb"]):
        assert url.startswith("http://testserver/v1/storage/")
        assert (await client.get(url)).content == content
    lease = await worker.lease()
    assert lease is not None
    ref = lease["input"]["photo"]
    assert ref.startswith("runflow://assets/")
    assert (await worker.http.get(lease["files"][ref]["url"])).content == content


async def test_a_foreign_or_deleted_workflow_cannot_be_run(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    body = {"input": {"prompt": "x"}}
    foreign = await other_client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    run = await dispatch()
    await client.delete(f"/v1/comfyui-workflows/{workflow.id}")
    gone = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert gone.status_code == 404
    assert (await client.get(f"/v1/runs/{run['id']}")).status_code == 200


async def test_a_disabled_workflow_is_a_conflict(client: httpx.AsyncClient, workflow: Deployed) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"status_code": "disabled"})
    body = {"input": {"prompt": "x"}}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "WORKFLOW_DISABLED")


async def test_a_run_keeps_the_version_it_was_dispatched_on(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    first = await dispatch()
    changed = {"1": {"class_type": "RunflowInputInt", "inputs": {"input_id": "count"}}}
    changed["9"] = {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["1", 0]}}
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": changed})
    second = await dispatch(input={"count": 3})
    assert (first["target_version"], second["target_version"]) == ("1", "2")
    leases = {}
    for _ in range(2):
        lease = await worker.lease()
        assert lease is not None
        leases[lease["run_id"]] = lease
    assert set(leases[first["id"]]["version"]["prompt"]) == {"1", "2", "3", "4", "9"}
    assert set(leases[second["id"]]["version"]["prompt"]) == {"1", "9"}


async def test_a_key_without_the_scope_is_told_which_would_do(services: Any, make_key: Any, workflow: Deployed) -> None:
    from tests.support.application import open_client

    async with open_client(services, await make_key(scopes=("runs:read",))) as reader:
        answer = await reader.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {}})
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert "`runs:create`" in answer.json()["message"]


async def newer_version(client: httpx.AsyncClient, workflow: Deployed) -> None:
    """Give the workflow a second version, which has no input `steps`."""
    prompt = {node: body for node, body in PROMPT.items() if node != "2"}
    prompt["4"] = {"class_type": "Anything", "inputs": {"text": ["1", 0], "image": ["3", 0]}}
    changed = await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": prompt})
    assert changed.json()["version"] == "2", changed.text


@pytest.mark.parametrize("path", ["comfyui-workflows", "models"])
async def test_a_dispatch_may_name_its_version(client: httpx.AsyncClient, workflow: Deployed, path: str) -> None:
    await newer_version(client, workflow)
    address = f"/v1/{path}/{workflow.path}"
    old = {"prompt": "x", "steps": 3}
    for version in (1, "1"):
        run = (await client.post(f"{address}/runs", json={"input": old, "version": version})).json()
        assert (run["target_version"], run["input"]) == ("1", old)
        batch = (await client.post(f"{address}/batches", json={"input": [old], "version": version})).json()
        assert batch["target_version"] == "1"
    for given in ({"version": "2"}, {"version": None}, {}):
        refused = await client.post(f"{address}/runs", json={"input": old, **given})
        assert refused.json()["errors"][0]["loc"] == ["body", "input", "steps"], "the current version has no such input"
        run = (await client.post(f"{address}/runs", json={"input": {"prompt": "x"}, **given})).json()
        assert run["target_version"] == "2"


@pytest.mark.parametrize("version", ["7", 7])
async def test_a_version_that_there_is_not_names_those_that_there_are(
    client: httpx.AsyncClient, workflow: Deployed, version: Any
) -> None:
    await newer_version(client, workflow)
    values = {"prompt": "x"}
    for noun, given in (("runs", values), ("batches", [values])):
        body = {"input": given, "version": version}
        answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/{noun}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
        assert answer.json()["message"] == f"There is no version 7 of {workflow.path}. There are 2, 1."
        assert answer.json()["errors"][0]["loc"] == ["body", "version"]


@pytest.mark.parametrize("version", ["current", "0", "01", 0, -1, 1.0, True, "1 ", "9" * 30, [], {}])
async def test_what_is_no_version_is_refused(client: httpx.AsyncClient, workflow: Deployed, version: Any) -> None:
    body = {"input": {"prompt": "x"}, "version": version}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["loc"] == ["body", "version"]


async def test_of_another_organization_s_workflow_only_the_current_version_runs(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await newer_version(client, workflow)
    address, body = f"/v1/comfyui-workflows/{workflow.path}/runs", {"input": {"prompt": "x"}}
    hidden = await other_client.post(address, json={**body, "version": 1})
    assert hidden.status_code == 404
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    run = await other_client.post(address, json={**body, "version": "2"})
    assert (run.status_code, run.json()["target_version"]) == (201, "2")
    said = []
    for version in (1, 7):
        refused = await other_client.post(address, json={**body, "version": version})
        assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR")
        said.append(refused.json()["message"].replace(f"version {version}", "version N"))
    assert said[0] == said[1], "nobody learns which there were"


async def test_a_priority_needs_its_scope(services: Services, client: httpx.AsyncClient, workflow: Deployed) -> None:
    key = await client.post("/v1/api-keys", json={"name": "plain", "scopes": ["runs:create", "runs:execute"]})
    run = (await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})).json()
    async with open_client(services, key.json()["key"]) as plain:
        for route, body in (
            (f"/v1/comfyui-workflows/{workflow.path}/runs", {"input": {"prompt": "x"}}),
            (f"/v1/models/{workflow.path}/runs", {"input": {"prompt": "x"}}),
            (f"/v1/comfyui-workflows/{workflow.path}/batches", {"input": [{"prompt": "x"}]}),
            (f"/v1/runs/{run['id']}/reruns", {}),
        ):
            refused = await plain.post(route, json={**body, "priority": -1})
            assert (refused.status_code, refused.json()["code"]) == (403, "PERMISSION_DENIED"), route
            assert "`runs:prioritize`" in refused.json()["message"]
            assert (await plain.post(route, json={**body, "priority": 0})).status_code == 201
            assert (await client.post(route, json={**body, "priority": -1})).status_code == 201
    listed = (await client.get("/v1/runs", params={"q": "priority < 0", "fields": "id,priority"})).json()["items"]
    assert [one["priority"] for one in listed] == [-1, -1, -1, -1]


@pytest.mark.parametrize("priority", [11, -11, "5", 1.5, True])
async def test_what_is_no_priority_is_refused(client: httpx.AsyncClient, workflow: Deployed, priority: Any) -> None:
    body = {"input": {"prompt": "x"}, "priority": priority}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["loc"] == ["body", "priority"]
