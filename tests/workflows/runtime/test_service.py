"""Deploy's answer and the runtime route say which workers can run a workflow, and what the others lack."""

from typing import Any

import httpx

from runflow.ids import new_id
from runflow.protocol.abilities import NodePack
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import PROMPT, Deployed, Worker

PACK = {"Some-Pack": {"origin": "https://example.com/pack", "commit": "1" * 40, "classes": ["Anything"]}}


async def deployed(client: httpx.AsyncClient, gpu: str, **more: Any) -> dict[str, Any]:
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, "custom_nodes": PACK, **more}
    answer = await client.post(
        "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def about_workers(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in record["warnings"] if "connected worker" in one["message"]]


async def runtime(client: httpx.AsyncClient, workflow_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow_id}/runtime")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_deployment_that_no_worker_can_run_says_so(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    box = await able(CLASSES - {"Anything"}, gpu=gpu)
    record = await deployed(client, gpu)
    (warning,) = about_workers(record)
    assert warning["message"] == (
        f"No connected worker can run this yet: {box.name} lacks the node class Anything "
        "(pack Some-Pack at commit 1111111111)."
    )
    assert "https://example.com/pack" in warning["next_step"]
    read = await runtime(client, record["id"])
    assert (read["can_run"], read["version"]) == (False, "1")
    assert read["reason"] == f"{warning['message'][:-1]}. {warning['next_step']}"
    (worker,) = [one for one in read["workers"] if one["name"] == box.name]
    (difference,) = worker["differences"]
    assert (difference["code"], worker["can_run"]) == ("NODE_TYPE_MISSING", False)
    other = await able(gpu=gpu)
    assert (await runtime(client, record["id"]))["workers"][0]["name"] == other.name
    changed = await client.patch(f"/v1/comfyui-workflows/{record['id']}", json={"workflow_json": PROMPT})
    assert about_workers(changed.json()) == []


async def test_a_change_and_a_rollback_say_so_too(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    await able(CLASSES - {"Anything"}, gpu=gpu)
    record = await deployed(client, gpu)
    path = f"/v1/comfyui-workflows/{record['id']}"
    labelled = await client.patch(path, json={"worker_labels": {"rack": "9"}})
    assert "lacks the label rack=9" in about_workers(labelled.json())[0]["message"]
    renamed = await client.patch(path, json={"name": "Another"})
    assert about_workers(renamed.json()) == [], "nothing about it has changed"
    back = await client.post(f"{path}/rollbacks", json={"version": "1"})
    assert len(about_workers(back.json())) == 1
    await client.patch(path, json={"worker_labels": {}})


async def test_without_a_worker_of_its_class_a_deployment_says_nothing_of_workers(client: httpx.AsyncClient) -> None:
    record = await deployed(client, f"GPU-{new_id().hex[-8:]}")
    assert about_workers(record) == []
    assert (await runtime(client, record["id"]))["can_run"] is False


async def test_what_is_only_told_stands_apart(client: httpx.AsyncClient, able: MakeAble, workflow: Deployed) -> None:
    box = await able(packs=[NodePack(folder="Some-Pack", commit="2" * 40)])
    record = await deployed(client, workflow.gpu, environment={"comfyui": {"version": "0.29.0"}})
    assert about_workers(record) == []
    (worker,) = [one for one in (await runtime(client, record["id"]))["workers"] if one["name"] == box.name]
    assert (worker["can_run"], worker["differences"]) == (True, [])
    assert [one["code"] for one in worker["notes"]] == ["COMFYUI_DIFFERS", "NODE_PACK_DIFFERS"]


async def test_a_worker_that_told_nothing_is_said_to(
    client: httpx.AsyncClient, worker: Worker, workflow: Deployed
) -> None:
    (shown,) = [one for one in (await runtime(client, workflow.id))["workers"] if one["name"] == worker.name]
    assert (shown["can_run"], shown["tells_abilities"]) == (True, False)


async def test_the_runtime_is_told_to_its_organization_alone(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    for path in (workflow.id, new_id()):
        answer = await other_client.get(f"/v1/comfyui-workflows/{path}/runtime")
        assert answer.status_code == 404
