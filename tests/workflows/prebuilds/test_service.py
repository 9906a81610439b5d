"""Asking for pre-builds: with a deployment or later, by the workflow's organization, and not without an end."""

import httpx
import pytest

from runflow.ids import new_id
from runflow.workflows.prebuilds import service
from tests.support.deployed import PROMPT, Deployed


async def ask(client: httpx.AsyncClient, workflow: str, version: str = "1") -> httpx.Response:
    return await client.post(f"/v1/comfyui-workflows/{workflow}/versions/{version}/prebuild")


async def test_nobody_asked_for_one_until_somebody_does(client: httpx.AsyncClient, workflow: Deployed) -> None:
    async def shown() -> object:
        return (await client.get(f"/v1/comfyui-workflows/{workflow.id}/runtime")).json()["prebuild"]

    assert await shown() is None
    asked = await ask(client, workflow.id)
    assert asked.status_code == 202, asked.text
    assert asked.json() == await shown()
    path = f"/v1/comfyui-workflows/{workflow.id}"
    changed = await client.patch(
        path, json={"workflow_json": {**PROMPT, "5": PROMPT["2"] | {"inputs": {"input_id": "more"}}}}
    )
    assert changed.json()["version"] == "2"
    assert await shown() is None, "the new version has none"
    await client.patch(path, json={"prebuild": True})
    found = (await client.get(f"{path}/runtime")).json()["prebuild"]
    assert found["state_code"] == "queued" and found["version_id"] != asked.json()["version_id"]
    by_id = await ask(client, workflow.id, asked.json()["version_id"])
    assert by_id.json()["version_id"] == asked.json()["version_id"]


async def test_only_the_owner_asks_and_only_for_what_is_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    assert (await ask(other_client, workflow.id)).json()["code"] == "COMFYUI_WORKFLOW_NOT_FOUND"
    assert (await ask(client, str(new_id()))).json()["code"] == "COMFYUI_WORKFLOW_NOT_FOUND"
    for version in ("7", "x", str(new_id())):
        assert (await ask(client, workflow.id, version)).json()["code"] == "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"


async def test_only_so_many_wait(other_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_OPEN", 1)
    body = {"workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [new_id().hex], "prebuild": True}
    first, second = [
        (await other_client.post("/v1/comfyui-workflows", json={**body, "name": f"P {new_id().hex}"})).json()
        for _ in range(2)
    ]
    assert not any("machine is prepared" in one["message"] for one in first["warnings"])
    assert any("No machine is prepared" in one["message"] for one in second["warnings"])
    refused = await ask(other_client, second["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "LIMIT_REACHED")
    assert (await ask(other_client, first["id"])).status_code == 202, "the one that waits is asked for again"
