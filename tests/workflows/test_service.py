"""Reading and deleting workflows over HTTP."""

from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.support.workflow_calls import NOWHERE
from tests.support.workflow_prompts import body, plugin_body

ROUTE = "/v1/comfyui-workflows"
UNKNOWN = "0197f3a0-0000-7000-8000-000000000001"


@pytest.fixture
async def made(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post(ROUTE, json=plugin_body())
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_one_workflow_by_id_and_by_path(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    by_id = await client.get(f"{ROUTE}/{made['id']}")
    by_path = await client.get(f"{ROUTE}/{made['path']}")
    assert by_id.status_code == by_path.status_code == 200
    assert (
        by_id.json()
        == by_path.json()
        == {name: value for name, value in made.items() if name not in ("warnings", "can_run")}
    )


async def test_fields_and_embeds(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for address in (made["id"], made["path"]):
        assert (await client.get(f"{ROUTE}/{address}?fields=id,path")).json() == {
            "id": made["id"],
            "path": made["path"],
        }
        assert set((await client.get(f"{ROUTE}/{address}?fields=slug&embed=inputs,outputs")).json()) == {
            "slug",
            "inputs",
            "outputs",
        }
    found = (await client.get(f"{ROUTE}/{made['id']}?fields=workflow_json,inputs")).json()
    assert found == {"workflow_json": made["workflow_json"], "inputs": made["inputs"]}
    found = (await client.get(f"{ROUTE}/{made['id']}?embed=versions,gpu_explicit_models")).json()
    (version,) = found["versions"]
    assert version["version"] == "1"
    assert version["fingerprint"].startswith("rt1-")
    assert set(version) == {
        "id", "comfyui_workflow_id", "version", "is_current", "fingerprint", "created_by", "created_at",
        "golden_run",
    }  # fmt: skip
    assert found["workflow_json"] == made["workflow_json"]
    for bad in ("fields=nope", "embed=nope", "embed=judges"):
        answer = await client.get(f"{ROUTE}/{made['id']}?{bad}")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FIELD")
        assert "inputs" in answer.json()["message"]


async def test_versions_are_newest_first(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for number in range(2):
        await client.patch(f"{ROUTE}/{made['id']}", json={"environment": {"number": number}})
    found = (await client.get(f"{ROUTE}/{made['id']}?fields=version&embed=versions")).json()
    assert found["version"] == "3"
    assert [version["version"] for version in found["versions"]] == ["3", "2", "1"]


async def test_what_is_not_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    owner, slug = made["path"].split("/")
    for caller, address in (
        (client, UNKNOWN),
        (other_client, made["id"]),
        (other_client, made["path"]),
        (client, f"{owner}/nope"),
        (client, f"nobody/{slug}"),
        (client, f"{owner}/a%00b"),
        (client, f"a%00b/{slug}"),
        (client, f"{owner}/{slug.upper()}"),
    ):
        answer = await caller.get(f"{ROUTE}/{address}")
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND"), address
    assert (await client.get(f"{ROUTE}/not-an-id")).status_code == 422


async def test_delete_hides_and_can_be_repeated(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    address = f"{ROUTE}/{made['id']}"
    assert (await other_client.delete(address)).status_code == 404
    assert (await client.get(address)).status_code == 200
    for _ in range(2):
        answer = await client.delete(address)
        assert (answer.status_code, answer.content) == (204, b"")
    answer = await client.get(f"{ROUTE}/{made['path']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    assert (await client.get(ROUTE)).json()["items"] == []
    assert (await client.delete(f"{ROUTE}/{UNKNOWN}")).status_code == 404


async def test_the_history_of_a_deleted_workflow_is_readable_by_its_owner(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    address = f"{ROUTE}/{made['id']}"
    made |= (await client.patch(address, json=NOWHERE)).json()
    run = (await client.post(f"{ROUTE}/{made['path']}/runs", json={"input": {"prompt": "a"}})).json()
    await client.delete(address)
    found = (await client.get(address)).json()
    own = ("deleted_at", "deleted_by", "updated_at")
    assert {k: v for k, v in found.items() if k not in own} == {
        k: v for k, v in made.items() if k not in (*own, "warnings", "can_run")
    }
    assert found["deleted_at"] is not None
    assert found["deleted_by"] == made["created_by"]
    assert (await client.get(f"{address}/inputs")).json()["items"] != []
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["comfyui_workflow_id"] == made["id"]
    answer = await client.post(f"{ROUTE}/{made['path']}/runs", json={"input": {"prompt": "a"}})
    assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    assert (await other_client.get(address)).status_code == 404


async def test_evaluation_settings(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    assert (made["auto_evaluate"], made["evaluation_task_type"]) == (False, None)
    sent = {"auto_evaluate": True, "evaluation_task_type": "headshot"}
    changed = (await client.patch(f"{ROUTE}/{made['id']}", json=sent)).json()
    assert (changed["auto_evaluate"], changed["evaluation_task_type"], changed["version"]) == (True, "headshot", "1")
    for q, count in (("auto_evaluate:true AND evaluation_task_type:headshot", 1), ("auto_evaluate:false", 0)):
        assert len((await client.get(ROUTE, params={"q": q})).json()["items"]) == count
    found = (await client.patch(f"{ROUTE}/{made['id']}", json={"evaluation_task_type": None})).json()
    assert (found["auto_evaluate"], found["evaluation_task_type"]) == (True, None)
    off = (await client.patch(f"{ROUTE}/{made['id']}", json={**sent, "auto_evaluate": False})).json()
    assert "no effect" in off["warnings"][0]["message"]


async def test_each_route_needs_its_scope(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, make_key: Any, services: Services, made: dict[str, Any]
) -> None:
    principal = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert principal is not None
    calls = [
        ("GET", ROUTE, "comfyui-workflows:read"),
        ("GET", f"{ROUTE}/{made['id']}", "comfyui-workflows:read"),
        ("GET", f"{ROUTE}/{made['path']}", "comfyui-workflows:read"),
        ("PATCH", f"{ROUTE}/{made['id']}", "comfyui-workflows:edit"),
        ("DELETE", f"{ROUTE}/{made['id']}", "comfyui-workflows:delete"),
    ]
    every = {"comfyui-workflows:read", "comfyui-workflows:create", "comfyui-workflows:edit", "comfyui-workflows:delete"}
    for method, address, scope in calls:
        lacking = await make_key(tuple(every - {scope}), org=principal.org_id)
        holding = await make_key((scope,), org=principal.org_id)
        json: dict[str, Any] | None = {} if method == "PATCH" else None
        answer = await anonymous.request(method, address, json=json, headers={"Authorization": f"Bearer {lacking}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
        assert scope in answer.json()["message"]
        answer = await anonymous.request(method, address, json=json, headers={"Authorization": f"Bearer {holding}"})
        assert answer.status_code < 300
        assert (await anonymous.request(method, address, json=json)).status_code == 401


async def test_json_is_written_as_the_contract_says(client: httpx.AsyncClient) -> None:
    answer = await client.post(ROUTE, json=body("Größe 2", slug="size", description="ü\U0001f431"))
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["description"] == "ü\U0001f431"
    assert answer.json()["name"] == "Größe 2"
