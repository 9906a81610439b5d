"""Listing and reading versions."""

from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import plugin_body, prompt

UNKNOWN = "0197f3a0-0000-7000-8000-000000000001"
DOCUMENTS = {"workflow_json", "graph", "environment", "models", "custom_nodes", "resources", "interface"}


@pytest.fixture
async def made(client: httpx.AsyncClient) -> dict[str, Any]:
    """A workflow with three versions."""
    found = await created(client, plugin_body())
    for models in ({}, {"a": {"url": "u"}}):
        assert (await client.patch(f"{ROUTE}/{found['id']}", json={"models": models})).status_code == 200
    return found


async def test_a_version_goes_by_its_own_id_below_any(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    second = (await client.get(f"{ROUTE}/{made['id']}/versions/2")).json()
    for workflow in ("any", made["id"]):
        assert (await client.get(f"{ROUTE}/{workflow}/versions/{second['id']}")).json() == second
    for refused in (
        await client.get(f"{ROUTE}/any/versions/2"),
        await other_client.get(f"{ROUTE}/any/versions/{second['id']}"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (404, "COMFYUI_WORKFLOW_VERSION_NOT_FOUND")


async def test_newest_first_without_documents(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    items = (await client.get(f"{ROUTE}/{made['id']}/versions")).json()["items"]
    assert [(item["version"], item["is_current"]) for item in items] == [("3", True), ("2", False), ("1", False)]
    assert not DOCUMENTS & set(items[0])
    assert {item["comfyui_workflow_id"] for item in items} == {made["id"]}
    embedded = (await client.get(f"{ROUTE}/{made['id']}?fields=id&embed=versions")).json()["versions"]
    assert embedded == items


async def test_the_order_is_that_of_the_numbers(
    client: httpx.AsyncClient, services: Services, made: dict[str, Any]
) -> None:
    async with services.db.system() as transaction:  # as when the third change began before the second
        earlier = "UPDATE workflow_versions SET created_at = created_at - interval '1 hour' WHERE number = 3"
        await transaction.run(f"{earlier} AND workflow_id = %(id)s", {"id": made["id"]})
    items = (await client.get(f"{ROUTE}/{made['id']}/versions")).json()["items"]
    assert [item["version"] for item in items] == ["3", "2", "1"]


async def test_filters_orders_and_fields(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    async def listed(**parameters: Any) -> list[dict[str, Any]]:
        answer = await client.get(f"{ROUTE}/{made['id']}/versions", params=parameters)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    assert [item["version"] for item in await listed(sort_by="version")] == ["1", "2", "3"]
    assert [item["version"] for item in await listed(q="version >= '2'", sort_by="version")] == ["2", "3"]
    assert await listed(fields="version,models", q="version:3") == [{"version": "3", "models": {"a": {"url": "u"}}}]
    (item,) = await listed(fields="interface", q="version:1")
    assert item["interface"]["inputs"][0]["name"] == "prompt"
    for parameters in ({"fields": "slug"}, {"embed": "inputs"}, {"q": "number:1"}, {"sort_by": "models"}):
        assert (await client.get(f"{ROUTE}/{made['id']}/versions", params=parameters)).status_code == 400


async def test_one_version_is_what_it_was(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    changed = {"workflow_json": prompt(n7={"class_type": "Other", "inputs": {"text": ["1", 0]}})}
    await client.patch(f"{ROUTE}/{made['id']}", json=changed)
    first = (await client.get(f"{ROUTE}/{made['id']}/versions/1")).json()
    for name in DOCUMENTS - {"interface"}:
        assert first[name] == made[name]
    assert (first["version"], first["is_current"]) == ("1", False)
    assert [row["name"] for row in first["interface"]["outputs"]] == ["image"]
    last = (await client.get(f"{ROUTE}/{made['id']}/versions/4?fields=workflow_json,is_current")).json()
    assert last == {**changed, "is_current": True}


async def test_what_is_not_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    for number in ("4", "0", "-1", "x", "1.0", "99999999999999999999", "%00", "01"):
        answer = await client.get(f"{ROUTE}/{made['id']}/versions/{number}")
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"), number
    await client.patch(f"{ROUTE}/{made['id']}", json={"is_public": True})
    for caller, workflow in ((client, UNKNOWN), (other_client, made["id"])):
        for path in ("/versions", "/versions/1"):
            answer = await caller.get(f"{ROUTE}/{workflow}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")


async def test_the_history_of_a_deleted_workflow_is_readable(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await client.delete(f"{ROUTE}/{made['id']}")
    assert len((await client.get(f"{ROUTE}/{made['id']}/versions")).json()["items"]) == 3
    assert (await client.get(f"{ROUTE}/{made['id']}/versions/2")).json()["models"] == {}
