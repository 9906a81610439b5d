"""Dispatching batches: both spellings, every fault named, all items or none."""

import base64
from datetime import datetime
from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.batches.conftest import MakeBatch
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.uploading import picture


async def runs_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/v1/runs")).json()["items"])


@pytest.mark.parametrize("path", ["comfyui-workflows", "models"])
async def test_a_batch_is_its_runs(client: httpx.AsyncClient, workflow: Deployed, worker: Worker, path: str) -> None:
    body = {
        "input": [{"prompt": "one"}, {"prompt": "two", "client_ref": "second"}],
        "metadata": {"order": 7},
        "callback_url": "http://127.0.0.1:9/hook",
    }
    answer = await client.post(f"/v1/{path}/{workflow.path}/batches", json=body)
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert batch["status_code"] == "queued" and batch["target_id"] == workflow.id
    assert batch["target_type"] == batch["target_type_code"] == "comfyui_workflow"
    assert [batch[f"items_{name}"] for name in ("total", "succeeded", "failed", "cancelled")] == [2, 0, 0, 0]
    assert [(item["sequence_index"], item["client_ref"]) for item in batch["items"]] == [(0, None), (1, "second")]
    assert batch["input"] == [{"prompt": "one"}, {"prompt": "two"}]
    assert (batch["metadata"], batch["output"], batch["cost"]) == ({"order": 7}, None, None)
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert read == batch
    run = (await client.get(f"/v1/runs/{batch['items'][1]['run_id']}")).json()
    assert (run["source_code"], run["batch_id"], run["client_ref"]) == ("batch", batch["id"], "second")
    assert run["callback_url"] is None and run["links"]["batch"] == batch["links"]["self"]
    leased = [await worker.lease() for _ in range(3)]
    assert [lease["run_id"] for lease in leased if lease] == [item["run_id"] for item in batch["items"]]


async def test_items_with_references_of_their_own(client: httpx.AsyncClient, workflow: Deployed) -> None:
    body = {"items": [{"input": {"prompt": "one"}, "client_ref": "a"}, {"input": {"prompt": "two"}}]}
    batch = (await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)).json()
    assert [item["client_ref"] for item in batch["items"]] == ["a", None]


async def test_an_input_called_client_ref_is_the_workflow_s(client: httpx.AsyncClient) -> None:
    prompt = {
        "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "client_ref"}},
        "2": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["1", 0]}},
    }
    body = {"name": "Refs", "workflow_json": prompt, "gpu_mode": "explicit", "gpu_explicit_models": ["GPU-nobody-has"]}
    made = (await client.post("/v1/comfyui-workflows", json=body)).json()
    answer = await client.post(
        f"/v1/comfyui-workflows/{made['path']}/batches", json={"input": [{"client_ref": "a value"}]}
    )
    assert answer.json()["input"] == [{"client_ref": "a value"}]
    assert answer.json()["items"][0]["client_ref"] is None


async def test_every_fault_of_every_item_is_named_and_nothing_is_created(
    client: httpx.AsyncClient, workflow: Deployed
) -> None:
    good = {"prompt": "x", "photo": "data:image/png;base64," + base64.b64encode(picture()).decode()}
    unknown = "runflow://assets/0197f3a0-0000-7000-8000-000000000000"
    inputs = [
        good,
        {"promt": "x", "steps": "many"},
        {"prompt": "x", "client_ref": 5},
        {"prompt": "x", "photo": unknown},
        {"prompt": "x", "photo": "data:image/png;base64,bm90IGEgcGljdHVyZQ=="},
    ]
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json={"input": inputs})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert {tuple(problem["loc"]) for problem in answer.json()["errors"]} == {
        ("body", "input", 1, "prompt"),
        ("body", "input", 1, "promt"),
        ("body", "input", 1, "steps"),
        ("body", "input", 2, "client_ref"),
        ("body", "input", 3, "photo"),
        ("body", "input", 4, "photo"),
    }
    body = {"items": [{"input": {}}, {"input": {"prompt": "x"}}]}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)
    assert [problem["loc"] for problem in answer.json()["errors"]] == [["body", "items", 0, "input", "prompt"]]
    assert await runs_of(client) == []
    for path in ("/v1/batches", "/v1/assets"):
        assert (await client.get(path)).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": [{"prompt": "x"}] * 101},
        {"input": [{"prompt": "x"}], "items": [{"input": {"prompt": "x"}}]},
        {"input": {"prompt": "x"}},
        {"input": [{"prompt": "x"}], "callback_url": "http://127.0.0.1:99999/"},
        {"input": [{"prompt": "x"}], "metadata": {"a": "x" * 70_000}},
        {"items": [{"input": {"prompt": "x"}, "callback_url": "https://example.com"}]},
        {"items": ["x"]},
    ],
)
async def test_a_malformed_batch_is_refused(
    client: httpx.AsyncClient, workflow: Deployed, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), answer.text
    assert answer.json()["errors"]


async def test_inline_files_become_assets_and_read_as_fresh_urls(
    client: httpx.AsyncClient, workflow: Deployed, make_batch: MakeBatch, worker: Worker
) -> None:
    content = picture()
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    batch = await make_batch(
        input=[{"prompt": "x", "photo": uri}, {"prompt": "y", "photo": uri}], metadata={"a": [uri]}
    )
    assert len((await client.get("/v1/assets")).json()["items"]) == 1
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    listed = (await client.get("/v1/batches?fields=id,metadata,input")).json()["items"][0]
    for shown in (batch, read, listed):
        for url in (shown["input"][0]["photo"], shown["input"][1]["photo"], shown["metadata"]["a"][0]):
            assert (await client.get(url)).content == content
    lease = await worker.lease()
    assert lease is not None and lease["input"]["photo"].startswith("runflow://assets/")


async def test_a_batch_is_one_transaction(
    client: httpx.AsyncClient, services: Services, workflow: Deployed, make_batch: MakeBatch
) -> None:
    batch = await make_batch(100)
    async with services.db.system() as transaction:
        runs = "SELECT created_at FROM runs WHERE batch_id = %(id)s"
        created = await transaction.values(runs, {"id": batch["id"]}, of=datetime)
        assert (len(created), len(set(created))) == (100, 1)
        lane = "SELECT l.depth FROM lanes l JOIN runs r ON r.lane_id = l.id WHERE r.batch_id = %(id)s LIMIT 1"
        assert await transaction.one_value(lane, {"id": batch["id"]}, of=int) == 100


async def test_a_disabled_or_foreign_workflow_takes_no_batch(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    body = {"input": [{"prompt": "x"}]}
    path = f"/v1/comfyui-workflows/{workflow.path}/batches"
    assert (await other_client.post(path, json=body)).json()["code"] == "COMFYUI_WORKFLOW_NOT_FOUND"
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"status_code": "disabled"})
    assert (await client.post(path, json=body)).json()["code"] == "WORKFLOW_DISABLED"


async def test_a_large_batch_does_not_keep_another_organization_waiting(
    other_client: httpx.AsyncClient,
    client: httpx.AsyncClient,
    workflow: Deployed,
    make_batch: MakeBatch,
    dispatch: Dispatch,
    make_worker: MakeWorker,
) -> None:
    await make_batch(100)
    prompt = {
        "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "prompt"}},
        "2": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["1", 0]}},
    }
    body = {"name": "Other", "workflow_json": prompt, "gpu_mode": "explicit", "gpu_explicit_models": [workflow.gpu]}
    theirs = (await other_client.post("/v1/comfyui-workflows", json=body)).json()
    run = await other_client.post(f"/v1/comfyui-workflows/{theirs['path']}/runs", json={"input": {"prompt": "x"}})
    worker = await make_worker(workflow.gpu)
    leases = [await worker.lease() for _ in range(3)]
    assert run.json()["id"] in [lease["run_id"] for lease in leases if lease]


async def test_a_repeated_request_with_one_idempotency_key_is_one_batch(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    body = {"input": [{"prompt": "one"}, {"prompt": "two"}]}
    path = f"/v1/comfyui-workflows/{workflow.path}/batches"
    first, second = [await client.post(path, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json() and second.headers["Idempotency-Replayed"] == "true"
    assert len(await runs_of(client)) == 2
    assert len([lease for lease in [await worker.lease() for _ in range(3)] if lease]) == 2
