"""Listing and reading inputs and outputs."""

from typing import Any

import httpx
import pytest

from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body, input_node, output_node, prompt

UNKNOWN = "0197f3a0-0000-7000-8000-000000000001"
MEDIA = prompt(n2=input_node("photo", "Image", required=False), n3=input_node("steps", "Int"), n11=output_node("mask"))


@pytest.fixture
async def made(client: httpx.AsyncClient) -> dict[str, Any]:
    return await created(client, body(workflow_json=MEDIA))


async def names(client: httpx.AsyncClient, workflow: str, kind: str = "inputs", **parameters: Any) -> list[str]:
    answer = await client.get(f"{ROUTE}/{workflow}/{kind}", params=parameters)
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["items"]]


async def test_the_rows_are_those_of_the_record(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for kind in ("inputs", "outputs"):
        items = (await client.get(f"{ROUTE}/{made['id']}/{kind}")).json()["items"]
        assert items == made[kind], "in the order of the form"
        for row in made[kind]:
            assert (await client.get(f"{ROUTE}/{made['id']}/{kind}/{row['id']}")).json() == row


async def test_filters_orders_and_pages(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    workflow = made["id"]
    assert await names(client, workflow, sort_by="sort_order") == ["prompt", "photo", "steps"]
    begin = (await client.get(f"{ROUTE}/{workflow}/inputs", params={"limit": 2})).json()
    assert [row["name"] for row in begin["items"]] == ["prompt", "photo"]
    assert await names(client, workflow, limit=2, pq=begin["next"]) == ["steps"]
    assert await names(client, workflow, sort_by="sort_order:desc,name", limit=2) == ["steps", "photo"]
    assert await names(client, workflow, q="variable_type_code:image") == ["photo"]
    assert await names(client, workflow, q="is_required:true AND name.like:'s%'") == ["steps"]
    assert await names(client, workflow, q="default_behavior_code.isnull:true", sort_by="name") == [
        "photo",
        "prompt",
        "steps",
    ]
    assert await names(client, workflow, "outputs", q="origin.eq:'node'", sort_by="name") == ["image", "mask"]
    first = (await client.get(f"{ROUTE}/{workflow}/inputs", params={"limit": 2, "sort_by": "name"})).json()
    rest = await names(client, workflow, limit=2, sort_by="name", pq=first["next"])
    assert [row["name"] for row in first["items"]] + rest == ["photo", "prompt", "steps"]
    thin = (await client.get(f"{ROUTE}/{workflow}/inputs", params={"fields": "name,default_value"})).json()["items"]
    assert {"name": "photo", "default_value": None} in thin
    for parameters, code in (
        ({"q": "is_required:maybe"}, "INVALID_FILTER"),
        ({"sort_by": "default_value"}, "INVALID_SORT"),
        ({"embed": "workflow"}, "INVALID_FIELD"),
    ):
        answer = await client.get(f"{ROUTE}/{workflow}/inputs", params=parameters)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_any_means_every_live_workflow_of_the_organization(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    second = await created(client, body("Second"))
    await created(other_client, body("Theirs", is_public=True))
    found = (await client.get(f"{ROUTE}/any/inputs")).json()["items"]
    assert {row["comfyui_workflow_id"] for row in found} == {made["id"], second["id"]}
    row = second["inputs"][0]
    assert (await client.get(f"{ROUTE}/any/inputs/{row['id']}")).json() == row
    assert (await other_client.get(f"{ROUTE}/any/inputs/{row['id']}")).status_code == 404
    assert await names(client, "any", q=f"comfyui_workflow_id:{second['id']}") == ["prompt"]
    await client.delete(f"{ROUTE}/{second['id']}")
    assert await names(client, "any", q=f"comfyui_workflow_id:{second['id']}") == []
    assert (await client.get(f"{ROUTE}/any/inputs/{row['id']}")).status_code == 404
    assert await names(client, second["id"]) == ["prompt"]


async def test_what_is_not_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = made["inputs"][0]
    for caller, workflow, row_id, code in (
        (client, made["id"], UNKNOWN, "COMFYUI_WORKFLOW_INPUT_NOT_FOUND"),
        (client, "any", UNKNOWN, "COMFYUI_WORKFLOW_INPUT_NOT_FOUND"),
        (client, UNKNOWN, row["id"], "COMFYUI_WORKFLOW_NOT_FOUND"),
        (other_client, made["id"], row["id"], "COMFYUI_WORKFLOW_NOT_FOUND"),
    ):
        answer = await caller.get(f"{ROUTE}/{workflow}/inputs/{row_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert (await other_client.get(f"{ROUTE}/{made['id']}/inputs")).status_code == 404
    answer = await client.get(f"{ROUTE}/{made['id']}/outputs/{row['id']}")
    assert answer.json()["code"] == "COMFYUI_WORKFLOW_OUTPUT_NOT_FOUND"
    assert (await client.get(f"{ROUTE}/nobody/inputs")).status_code == 422


async def test_an_input_of_another_own_workflow_is_not_found(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    second = await created(client, body("Second"))
    answer = await client.get(f"{ROUTE}/{second['id']}/inputs/{made['inputs'][0]['id']}")
    assert answer.status_code == 404
