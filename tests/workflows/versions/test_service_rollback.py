"""Going back to an earlier version."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.workflow_calls import NOWHERE, ROUTE, created
from tests.support.workflow_prompts import body, input_node, output_node, plugin_body, prompt

SEED = {"name": "seed", "variable_type_code": "int", "comfyui_node_id": "7", "comfyui_field_name": "seed"}


async def back(client: httpx.AsyncClient, made: dict[str, Any], version: Any) -> dict[str, Any]:
    answer = await client.post(f"{ROUTE}/{made['id']}/rollbacks", json={"version": version})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def patched(client: httpx.AsyncClient, made: dict[str, Any], **sent: Any) -> dict[str, Any]:
    answer = await client.patch(f"{ROUTE}/{made['id']}", json=sent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("updated_at", "created_at")} for row in rows]


async def test_a_new_version_has_the_content_of_the_old_one(client: httpx.AsyncClient) -> None:
    made = await created(client, {**plugin_body(), **NOWHERE})
    await patched(client, made, models={}, environment={}, workflow_json=prompt(n2=input_node("style")), name="Other")
    found = await back(client, made, "1")
    assert (found["version"], found["name"]) == ("3", "Other")
    for name in ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources"):
        assert found[name] == made[name]
    assert without_time(found["inputs"]) == without_time(made["inputs"])
    first, third = [(await client.get(f"{ROUTE}/{made['id']}/versions/{number}")).json() for number in (1, 3)]
    own = ("id", "version", "is_current", "created_at")
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in third.items() if k not in own}
    assert third["is_current"]
    answer = await client.post(f"{ROUTE}/{made['path']}/runs", json={"input": {"prompt": "a"}})
    assert answer.json()["target_version"] == "3"


async def test_hand_made_rows_come_and_go_with_the_version(client: httpx.AsyncClient) -> None:
    made = await created(client, body(inputs=[SEED]))
    seed = next(row for row in made["inputs"] if row["name"] == "seed")
    await client.delete(f"{ROUTE}/{made['id']}/inputs/{seed['id']}")
    steps = {**SEED, "name": "steps", "comfyui_field_name": "steps"}
    await patched(client, made, inputs=[steps, {"name": "prompt", "display_name": "Mine"}])
    found = await back(client, made, "1")
    assert [(row["name"], row["origin"]) for row in found["inputs"]] == [("prompt", "node"), ("seed", "manual")]
    assert found["inputs"][0]["display_name"] == "Prompt"
    (warning,) = [item for item in found["warnings"] if "by hand" in item["message"]]
    assert ('"steps"' in warning["message"], warning["node_id"], "version 3" in warning["next_step"]) == (
        True, "7", True,
    )  # fmt: skip
    forth = await back(client, made, 3)
    assert [(row["name"], row["display_name"]) for row in forth["inputs"]] == [("prompt", "Mine"), ("steps", "steps")]


async def test_edits_are_still_known_as_edits(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    await patched(client, made, inputs=[{"name": "prompt", "display_name": "Mine"}])
    await patched(client, made, workflow_json=prompt(n1=input_node("prompt", display_name="Theirs")))
    found = await back(client, made, "2")
    assert found["inputs"][0]["display_name"] == "Mine"
    # The same node again: the edit stays. Another widget: the node speaks.
    assert (await patched(client, made, workflow_json=prompt()))["inputs"][0]["display_name"] == "Mine"
    nodes = prompt(n1=input_node("prompt", display_name="New"))
    assert (await patched(client, made, workflow_json=nodes))["inputs"][0]["display_name"] == "New"


async def test_what_was_deleted_by_hand_is_so_again(client: httpx.AsyncClient) -> None:
    made = await created(client, body(workflow_json=prompt(n2=input_node("style"), n11=output_node("mask"))))
    style = next(row for row in made["inputs"] if row["name"] == "style")
    mask = next(row for row in made["outputs"] if row["name"] == "mask")
    await client.delete(f"{ROUTE}/{made['id']}/inputs/{style['id']}")
    await client.delete(f"{ROUTE}/{made['id']}/outputs/{mask['id']}")
    await patched(client, made, workflow_json=prompt())
    found = await back(client, made, "3")
    assert ([row["name"] for row in found["inputs"]], [row["name"] for row in found["outputs"]]) == (
        ["prompt"],
        ["image"],
    )
    again = await patched(client, made, workflow_json=prompt(n2=input_node("style"), n11=output_node("mask")))
    assert [row["name"] for row in again["inputs"]] == ["prompt"]
    assert [row["name"] for row in again["outputs"]] == ["image"]
    whole = await back(client, made, "1")
    assert [row["name"] for row in whole["inputs"]] == ["prompt", "style"]


async def test_there_and_back_keeps_ids_of_live_rows(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    await patched(client, made, inputs=[{"name": "prompt", "description": "x"}])
    for version in ("1", "2", "1"):
        found = await back(client, made, version)
        assert found["inputs"][0]["id"] == made["inputs"][0]["id"]
    assert found["version"] == "5"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"version": "9"}, 404, "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"),
        ({"version": "x"}, 404, "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"),
        ({"version": "\x00"}, 404, "COMFYUI_WORKFLOW_VERSION_NOT_FOUND"),
        ({}, 422, "VALIDATION_ERROR"),
        ({"version": None}, 422, "VALIDATION_ERROR"),
        ({"version": True}, 422, "VALIDATION_ERROR"),
        ({"version": "1", "slug": "x"}, 422, "VALIDATION_ERROR"),
    ],
)
async def test_what_cannot_be_rolled_back(
    client: httpx.AsyncClient, sent: dict[str, Any], status: int, code: str
) -> None:
    made = await created(client, body())
    answer = await client.post(f"{ROUTE}/{made['id']}/rollbacks", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.get(f"{ROUTE}/{made['id']}")).json()["version"] == "1"


async def test_foreign_and_deleted_workflows_are_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    made = await created(client, body(is_public=True))
    answer = await other_client.post(f"{ROUTE}/{made['id']}/rollbacks", json={"version": "1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    await client.delete(f"{ROUTE}/{made['id']}")
    assert (await client.post(f"{ROUTE}/{made['id']}/rollbacks", json={"version": "1"})).status_code == 404


async def test_at_once_with_deploys_nothing_is_lost(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    calls = [client.post(f"{ROUTE}/{made['id']}/rollbacks", json={"version": "1"}) for _ in range(3)]
    calls += [client.patch(f"{ROUTE}/{made['id']}", json={"environment": {"number": n}}) for n in range(3)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.json()["version"] for answer in answers) == ["2", "3", "4", "5", "6", "7"]
