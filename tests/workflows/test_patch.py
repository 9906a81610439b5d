"""Changing workflows over HTTP: versions, merged interfaces, optimistic locks."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.support.uploading import upload
from tests.support.workflow_prompts import body, input_node, output_node, plugin_body, prompt

ROUTE = "/v1/comfyui-workflows"


async def created(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(ROUTE, json=body(**fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def patched(client: httpx.AsyncClient, made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await client.patch(f"{ROUTE}/{made['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@dataclass(frozen=True, slots=True)
class Version:
    """What the tests look at in a version."""

    number: int
    fingerprint: str
    interface: dict[str, Any]
    workflow_json: dict[str, Any]
    models: Any


DELETED_BY_HAND = "UPDATE workflow_inputs SET deleted_at = now() WHERE comfyui_workflow_id = %(id)s"


async def versions(services: Services, made: dict[str, Any]) -> list[Version]:
    async with services.db.system() as transaction:
        statement = """
            SELECT number, fingerprint, interface, workflow_json, models FROM workflow_versions
            WHERE workflow_id = %(id)s ORDER BY number
        """
        return await transaction.rows(statement, {"id": made["id"]}, row=Version)


def by_name(made: dict[str, Any], kind: str = "inputs") -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in made[kind]}


async def test_own_fields_change_in_place(client: httpx.AsyncClient, services: Services) -> None:
    made = await created(client)
    changed = await patched(
        client, made, name="Other", description="d", is_public=True, status_code="disabled", category_code="3d",
        gpu_mode="explicit", gpu_explicit_models=["L40S"], timeout_seconds=60, slug="other",
    )  # fmt: skip
    assert (changed["name"], changed["slug"], changed["status_code"]) == ("Other", "other", "disabled")
    assert (changed["gpu_mode"], changed["gpu_explicit_models"], changed["timeout_seconds"]) == (
        "explicit",
        ["L40S"],
        60,
    )
    assert changed["path"].endswith("/other")
    assert changed["version"] == "1"
    assert changed["updated_at"] > made["updated_at"]
    assert changed["workflow_json"] == made["workflow_json"]
    assert changed["inputs"] == made["inputs"]
    assert (await client.get(f"{ROUTE}/{made['id']}")).json() == {
        k: v for k, v in changed.items() if k not in ("warnings", "can_run")
    }
    assert len(await versions(services, made)) == 1


async def uploaded(client: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    """Upload a file and return the manifest's entry of it, as Deploy makes it."""
    asset = await upload(client, content, "application/octet-stream", "a.bin")
    return {"asset_id": asset["id"], "url": asset["url"], "sha256": hashlib.sha256(content).hexdigest()}


async def test_an_unchanged_redeploy_makes_no_version_though_its_files_were_uploaded_again(
    client: httpx.AsyncClient,
) -> None:
    sent = plugin_body() | {"resources": {"a.bin": await uploaded(client, b"content")}}
    made = await created(client, **sent)
    first = sent["resources"]["a.bin"]["asset_id"]
    graph = sent["graph"] | {"extra": {**sent["graph"].get("extra", {}), "ds": {"scale": 2, "offset": [1, 2]}}}
    redeployed = sent | {"resources": {"a.bin": await uploaded(client, b"content")}, "graph": graph}
    del redeployed["slug"]
    reordered = dict(reversed(redeployed.items())) | {"models": dict(reversed(sent["models"].items()))}
    for again in (redeployed, reordered):
        unchanged = await patched(client, made, **again)
        assert (unchanged["version"], unchanged["resources"]["a.bin"]["asset_id"]) == ("1", first)
    other = await patched(client, made, resources={"a.bin": await uploaded(client, b"another")})
    assert other["version"] == "2"
    # An asset that somebody deleted cannot stand for its file any more.
    await client.delete(f"/v1/assets/{other['resources']['a.bin']['asset_id']}")
    fresh = await uploaded(client, b"another")
    assert (await patched(client, made, resources={"a.bin": fresh}))["version"] == "3"
    assert (await patched(client, made, workflow_json=sent["workflow_json"]))["version"] == "3"


@pytest.mark.parametrize("other", [True, 1.0, "1", None])
async def test_a_value_of_another_type_is_a_change(client: httpx.AsyncClient, other: Any) -> None:
    made = await created(client, environment={"a": 1})
    assert (await patched(client, made, environment={"a": other}))["version"] == "2"


async def test_null_clears_what_can_be_null_and_leaves_the_rest(client: httpx.AsyncClient) -> None:
    made = await created(client, description="d", category_code="3d", timeout_seconds=5, models={"a": {"url": "u"}})
    changed = await patched(
        client, made, description=None, category_code=None, timeout_seconds=None, models=None, name=None, slug=None,
        is_public=None, status_code=None, gpu_mode=None, workflow_json=None, inputs=None, updated_at=None,
    )  # fmt: skip
    for name in ("description", "category_code", "timeout_seconds", "models"):
        assert changed[name] is None
    for name in ("name", "slug", "is_public", "status_code", "gpu_mode", "workflow_json", "inputs"):
        assert changed[name] == made[name]
    assert changed["version"] == "2"


async def test_an_empty_patch_changes_nothing(client: httpx.AsyncClient) -> None:
    made = await created(client)
    assert await patched(client, made) == {**made, "warnings": []}


async def test_the_plugins_redeploy_makes_a_version(client: httpx.AsyncClient, services: Services) -> None:
    sent = plugin_body()
    made = (await client.post(ROUTE, json=sent)).json()
    del sent["slug"]
    sent["workflow_json"]["1"]["inputs"]["display_name"] = "Your prompt"
    sent["custom_nodes"]["ComfyUI-Runflow"]["commit"] = "c" * 40
    changed = await patched(client, made, **sent)
    assert (changed["id"], changed["slug"], changed["version"]) == (made["id"], "my-first-flow", "2")
    for name, value in sent.items():
        assert changed[name] == value
    assert changed["inputs"][0]["display_name"] == "Your prompt"
    assert changed["inputs"][0]["id"] == made["inputs"][0]["id"]
    first, second = await versions(services, made)
    assert (first.number, second.number) == (1, 2)
    assert first.fingerprint != second.fingerprint
    assert first.interface["inputs"][0]["display_name"] == "Prompt"
    assert second.interface["inputs"][0]["display_name"] == "Your prompt"
    assert first.workflow_json["1"]["inputs"]["display_name"] == "Prompt"
    assert first.models == second.models


@pytest.mark.parametrize("name", ["graph", "environment", "models", "custom_nodes", "resources"])
async def test_each_document_makes_a_version_and_keeps_the_others(
    client: httpx.AsyncClient, services: Services, name: str
) -> None:
    made = (await client.post(ROUTE, json=plugin_body())).json()
    changed = await patched(client, made, **{name: {"new": {"url": "u"}}})
    assert changed["version"] == "2"
    assert changed[name] == {"new": {"url": "u"}}
    kept = {"workflow_json", "graph", "environment", "models", "custom_nodes", "resources", "inputs"} - {name}
    assert {other: changed[other] for other in kept} == {other: made[other] for other in kept}
    first, second = await versions(services, made)
    assert first.interface == second.interface
    assert (first.fingerprint == second.fingerprint) == (name not in ("environment", "custom_nodes"))


async def test_the_fingerprint_takes_the_unsent_part_from_before(client: httpx.AsyncClient, services: Services) -> None:
    made = (await client.post(ROUTE, json=plugin_body())).json()
    sent = plugin_body()
    await patched(client, made, environment={})
    await patched(client, made, environment=sent["environment"])
    await patched(client, made, custom_nodes={})
    await patched(client, made, custom_nodes=sent["custom_nodes"])
    prints = [version.fingerprint for version in await versions(services, made)]
    assert prints[0] == prints[2] == prints[4] and len(set(prints)) == 3


async def test_a_persons_edit_survives_until_the_node_says_otherwise(client: httpx.AsyncClient) -> None:
    made = await created(client)
    edited = await patched(client, made, inputs=[{"name": "prompt", "display_name": "Mine", "default_value": "cat"}])
    assert edited["version"] == "2"
    again = await patched(client, made, workflow_json=prompt(n1=input_node("prompt", display_name="Prompt")))
    row = again["inputs"][0]
    assert (row["display_name"], row["default_value"], row["description"]) == ("Mine", "cat", "")
    said = await patched(client, made, workflow_json=prompt(n1=input_node("prompt", display_name="New")))
    assert (said["inputs"][0]["display_name"], said["inputs"][0]["default_value"]) == ("New", "cat")
    assert said["inputs"][0]["id"] == made["inputs"][0]["id"]


async def test_rows_follow_their_nodes(client: httpx.AsyncClient) -> None:
    made = await created(client)
    nodes = prompt(n2=input_node("style"), n11=output_node("mask"))
    more = await patched(client, made, workflow_json=nodes)
    assert list(by_name(more)) == ["prompt", "style"]
    assert list(by_name(more, "outputs")) == ["image", "mask"]
    del nodes["1"], nodes["11"]
    nodes["7"]["inputs"]["text"] = ["2", 0]
    fewer = await patched(client, made, workflow_json=nodes)
    assert list(by_name(fewer)) == ["style"]
    assert list(by_name(fewer, "outputs")) == ["image"]
    assert by_name(fewer)["style"]["id"] == by_name(more)["style"]["id"]


async def test_a_manual_row_lives_as_long_as_its_target(client: httpx.AsyncClient) -> None:
    seed = {"name": "seed", "variable_type_code": "int", "comfyui_node_id": "7", "comfyui_field_name": "seed"}
    made = await created(client, inputs=[seed])
    kept = await patched(client, made, workflow_json=prompt(n2=input_node("style")))
    assert by_name(kept)["seed"] == by_name(made)["seed"]
    gone = await patched(client, made, workflow_json=prompt(n7={"class_type": "Other", "inputs": {"text": ["1", 0]}}))
    assert list(by_name(gone)) == ["prompt"]
    assert any('"seed"' in warning["message"] and warning["node_id"] == "7" for warning in gone["warnings"])


async def test_a_row_deleted_by_hand_stays_deleted(client: httpx.AsyncClient, services: Services) -> None:
    made = await created(client)
    async with services.db.system() as transaction:
        await transaction.run(DELETED_BY_HAND, made)
    again = await patched(client, made, workflow_json=prompt(n1=input_node("prompt", display_name="New")))
    assert again["inputs"] == []
    renamed = await patched(client, made, workflow_json=prompt(n1=input_node("wish")))
    assert list(by_name(renamed)) == ["wish"]
    back = await patched(client, made, workflow_json=prompt())
    assert list(by_name(back)) == ["prompt"]


async def test_stating_a_deleted_row_brings_it_back(client: httpx.AsyncClient, services: Services) -> None:
    made = await created(client)
    async with services.db.system() as transaction:
        await transaction.run(DELETED_BY_HAND, made)
    back = await patched(client, made, inputs=[{"name": "prompt"}])
    assert by_name(back)["prompt"]["id"] == made["inputs"][0]["id"]


async def test_an_input_may_be_given_another_target(client: httpx.AsyncClient) -> None:
    made = await created(client)
    moved = await patched(
        client, made, inputs=[{"name": "prompt", "comfyui_node_id": "7", "comfyui_field_name": "text"}]
    )
    row = by_name(moved)["prompt"]
    assert (row["origin"], row["comfyui_node_id"], row["comfyui_field_name"]) == ("manual", "7", "text")
    again = await patched(client, made, workflow_json=prompt())
    assert by_name(again)["prompt"] == row
    nodes = prompt()
    del nodes["7"]
    nodes["9"]["inputs"] = {}
    home = await patched(client, made, workflow_json=nodes)
    assert (by_name(home)["prompt"]["origin"], by_name(home)["prompt"]["comfyui_node_id"]) == ("node", "1")


async def test_stating_what_is_there_makes_no_version(client: httpx.AsyncClient) -> None:
    made = await created(client)
    same = await patched(client, made, inputs=made["inputs"], outputs=made["outputs"], inputs_note="x")
    assert same["version"] == "1"
    assert same["updated_at"] == made["updated_at"]
    changed = await patched(client, made, outputs=[{"name": "image", "display_name": "Picture"}])
    assert (changed["version"], changed["outputs"][0]["display_name"]) == ("2", "Picture")


async def test_a_whole_record_can_be_sent_back(client: httpx.AsyncClient) -> None:
    made = (await client.post(ROUTE, json=plugin_body())).json()
    back = await patched(client, made, **{**made, "name": "Renamed"})
    assert (back["name"], back["version"], back["inputs"]) == ("Renamed", "1", made["inputs"])
    assert all("names no asset" in warning["message"] for warning in back["warnings"]), back["warnings"]


async def test_a_bad_graph_changes_nothing(client: httpx.AsyncClient, services: Services) -> None:
    made = await created(client)
    nodes: dict[str, Any] = {"nodes": [], "links": []}
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"name": "Other", "workflow_json": nodes})
    assert (answer.status_code, answer.json()["code"]) == (422, "WORKFLOW_INVALID")
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"name": "Other", "inputs": [{"name": "x"}]})
    assert (answer.status_code, answer.json()["errors"][0]["loc"][:3]) == (422, ["body", "inputs", 0])
    assert (await client.get(f"{ROUTE}/{made['id']}")).json()["name"] == made["name"]
    assert len(await versions(services, made)) == 1


async def test_gpu_mode_explicit_needs_a_list(client: httpx.AsyncClient) -> None:
    made = await created(client)
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"gpu_mode": "explicit"})
    assert answer.json()["errors"][0]["loc"] == ["body", "gpu_explicit_models"]
    await patched(client, made, gpu_mode="explicit", gpu_explicit_models=[{"gpu_model_code": "A100"}])
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"gpu_explicit_models": []})
    assert answer.status_code == 422
    assert (await patched(client, made, gpu_mode="auto"))["gpu_explicit_models"] == ["A100"]


async def test_an_old_updated_at_is_a_conflict(client: httpx.AsyncClient) -> None:
    made = await created(client)
    changed = await patched(client, made, name="One", updated_at=made["updated_at"])
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"name": "Two", "updated_at": made["updated_at"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert answer.json()["errors"][0]["loc"] == ["body", "updated_at"]
    moment = datetime.fromisoformat(changed["updated_at"])
    milliseconds = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    as_javascript = milliseconds.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (await patched(client, made, name="Three", updated_at=as_javascript))["name"] == "Three"
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"updated_at": "yesterday"})
    assert answer.status_code == 422


async def test_only_one_of_two_that_read_the_same_state_wins(client: httpx.AsyncClient) -> None:
    made = await created(client)
    sent = [{"description": str(number), "updated_at": made["updated_at"]} for number in range(5)]
    answers = await asyncio.gather(*(client.patch(f"{ROUTE}/{made['id']}", json=item) for item in sent))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_patches_at_once_make_one_version_each(client: httpx.AsyncClient, services: Services) -> None:
    made = await created(client)
    answers = await asyncio.gather(
        *(client.patch(f"{ROUTE}/{made['id']}", json={"environment": {"number": number}}) for number in range(5))
    )
    assert sorted(answer.json()["version"] for answer in answers) == ["2", "3", "4", "5", "6"]
    assert [version.number for version in await versions(services, made)] == [1, 2, 3, 4, 5, 6]


async def test_a_taken_slug_is_a_conflict(client: httpx.AsyncClient) -> None:
    await created(client, slug="taken")
    made = await created(client)
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"slug": "taken"})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert (await patched(client, made, slug=made["slug"]))["slug"] == made["slug"]
    for bad in ("versions", "A", ""):
        answer = await client.patch(f"{ROUTE}/{made['id']}", json={"slug": bad})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "slug"])


async def test_foreign_and_deleted_workflows_are_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    made = await created(client, is_public=True)
    sent = {"name": "Mine now"}
    for caller, path in ((other_client, made["id"]), (client, "0197f3a0-0000-7000-8000-000000000001")):
        answer = await caller.patch(f"{ROUTE}/{path}", json=sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    await client.delete(f"{ROUTE}/{made['id']}")
    answer = await client.patch(f"{ROUTE}/{made['id']}", json=sent)
    assert answer.status_code == 404 and f"{made['id']}/restorations" in answer.json()["message"]
