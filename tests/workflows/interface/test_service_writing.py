"""Adding, changing and removing inputs and outputs: one version per change, and what later deploys leave of it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.support.workflow_calls import NOWHERE, ROUTE, created
from tests.support.workflow_prompts import body, input_node, output_node, prompt

SEED = {"name": "seed", "variable_type_code": "INT", "comfyui_node_id": "7", "comfyui_field_name": "seed"}
UNKNOWN = "0197f3a0-0000-7000-8000-000000000001"


@pytest.fixture
async def made(client: httpx.AsyncClient) -> dict[str, Any]:
    return await created(client, body(**NOWHERE))


async def add(client: httpx.AsyncClient, made: dict[str, Any], kind: str = "inputs", **row: Any) -> dict[str, Any]:
    answer = await client.post(f"{ROUTE}/{made['id']}/{kind}", json=row)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def change(client: httpx.AsyncClient, row: dict[str, Any], kind: str = "inputs", **sent: Any) -> dict[str, Any]:
    answer = await client.patch(f"{ROUTE}/{row['comfyui_workflow_id']}/{kind}/{row['id']}", json=sent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def remove(client: httpx.AsyncClient, row: dict[str, Any], kind: str = "inputs") -> None:
    answer = await client.delete(f"{ROUTE}/{row['comfyui_workflow_id']}/{kind}/{row['id']}")
    assert (answer.status_code, answer.content) == (204, b"")


async def deployed(client: httpx.AsyncClient, made: dict[str, Any], nodes: Any) -> dict[str, Any]:
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"workflow_json": nodes})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def current(client: httpx.AsyncClient, made: dict[str, Any]) -> dict[str, Any]:
    return dict((await client.get(f"{ROUTE}/{made['id']}")).json())


async def frozen(client: httpx.AsyncClient, made: dict[str, Any], version: str) -> dict[str, Any]:
    return dict((await client.get(f"{ROUTE}/{made['id']}/versions/{version}")).json()["interface"])


async def test_a_new_input_makes_a_version_with_a_frozen_interface(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = await add(client, made, **SEED, default_value="7", is_required=False, validator_attrs={"min": 0})
    assert (row["origin"], row["variable_type_code"], row["default_value"], row["warnings"]) == ("manual", "int", 7, [])
    now = await current(client, made)
    assert now["version"] == "2"
    assert {one["name"] for one in now["inputs"]} == {"prompt", "seed"}
    assert [one["name"] for one in (await frozen(client, made, "1"))["inputs"]] == ["prompt"]
    (kept,) = [one for one in (await frozen(client, made, "2"))["inputs"] if one["name"] == "seed"]
    assert (kept["validator_attrs"], kept["default_value"]) == ({"min": 0}, 7)
    assert now["updated_at"] > made["updated_at"]


async def test_a_run_is_checked_against_the_new_interface(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    address = f"{ROUTE}/{made['path']}/runs"
    sent = {"input": {"prompt": "a", "seed": 3}}
    assert (await client.post(address, json=sent)).status_code == 422
    row = await add(client, made, **SEED)
    answer = await client.post(address, json=sent)
    assert (answer.status_code, answer.json()["target_version"]) == (201, "2")
    await remove(client, row)
    assert (await client.post(address, json=sent)).status_code == 422


async def test_a_new_output_is_the_files_of_any_node(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = await add(client, made, "outputs", name="raw", variable_type_code="image", comfyui_node_id="9")
    assert (row["origin"], row["display_name"], row["comfyui_node_id"]) == ("manual", "raw", "9")
    again = await add(client, made, "outputs", name="raw", variable_type_code="image", comfyui_node_id="7")
    assert again["id"] != row["id"]
    assert any("share the output_id" in warning["message"] for warning in again["warnings"])
    assert (await current(client, made))["version"] == "3"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": "x"}, "variable_type_code"),
        ({"name": "x", "variable_type_code": "int"}, "comfyui_node_id"),
        ({"name": "x", "variable_type_code": "int", "comfyui_node_id": "99"}, "comfyui_node_id"),
        ({"name": "x", "variable_type_code": "int", "comfyui_node_id": "7"}, "comfyui_field_name"),
        ({**SEED, "default_value": "many"}, "default_value"),
        ({**SEED, "comfyui_node_id": "1", "comfyui_field_name": "value"}, "comfyui_node_id"),
        ({**SEED, "variable_type_code": "colour"}, "variable_type_code"),
        ({**SEED, "name": " "}, "name"),
        ({**SEED, "name": "a\0"}, "name"),
        ({"variable_type_code": "int"}, "name"),
    ],
)
async def test_what_cannot_be_added(
    client: httpx.AsyncClient, made: dict[str, Any], sent: dict[str, Any], field: str
) -> None:
    answer = await client.post(f"{ROUTE}/{made['id']}/inputs", json=sent)
    assert answer.status_code == 422, answer.text
    assert [detail["loc"] for detail in answer.json()["errors"]] == [["body", field]]
    assert (await current(client, made))["version"] == "1"


async def test_a_name_that_is_there_is_a_conflict(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = await add(client, made, **SEED)
    for name in ("seed", "prompt"):
        answer = await client.post(f"{ROUTE}/{made['id']}/inputs", json={**SEED, "name": name})
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    answer = await client.patch(f"{ROUTE}/{made['id']}/inputs/{row['id']}", json={"name": "prompt"})
    assert answer.status_code == 409
    answer = await client.post(f"{ROUTE}/{made['id']}/outputs", json={"name": "image"})
    assert answer.status_code == 409


async def test_an_edit_survives_deploys_until_the_node_says_otherwise(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = made["inputs"][0]
    edited = await change(
        client, row, display_name="Wish", description="Say it", default_value="cat", is_required=False
    )
    assert (edited["display_name"], edited["default_value"], edited["is_required"]) == ("Wish", "cat", False)
    again = await deployed(client, made, prompt())
    assert again["inputs"][0] == {name: value for name, value in edited.items() if name != "warnings"}
    nodes = prompt(n1=input_node("prompt", display_name="Scene", description="What to paint"))
    said = (await deployed(client, made, nodes))["inputs"][0]
    assert (said["display_name"], said["description"], said["default_value"]) == ("Scene", "Say it", "cat")
    assert said["id"] == row["id"]


async def test_a_change_that_changes_nothing_makes_no_version(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = made["inputs"][0]
    same = await change(client, row, **{**row, "updated_at": row["updated_at"]})
    assert {name: value for name, value in same.items() if name != "warnings"} == row
    await change(client, row)
    await change(client, row, is_required=None, sort_order=None, name=None)
    assert (await current(client, made))["version"] == "1"


async def test_warnings_tell_what_the_change_brought(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    edited = await change(client, made["inputs"][0], is_required=False)
    (warning,) = edited["warnings"]
    assert (warning["node_id"], "has no default" in warning["message"]) == ("1", True)
    assert (await change(client, made["inputs"][0], description="x"))["warnings"] == []


async def test_a_node_keeps_its_name_and_type(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = made["inputs"][0]
    for sent, field in (({"name": "wish"}, "name"), ({"variable_type_code": "int"}, "variable_type_code")):
        answer = await client.patch(f"{ROUTE}/{made['id']}/inputs/{row['id']}", json=sent)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", field])
        assert "node 1" in answer.json()["message"]
    manual = await add(client, made, **SEED)
    renamed = await change(client, manual, name="start", variable_type_code="float", default_value=1)
    assert (renamed["id"], renamed["name"], renamed["default_value"]) == (manual["id"], "start", 1.0)


async def test_another_target_makes_it_a_manual_row(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    moved = await change(client, made["inputs"][0], comfyui_node_id="7", comfyui_field_name="text")
    assert (moved["origin"], moved["comfyui_node_id"]) == ("manual", "7")
    again = await deployed(client, made, prompt())
    assert [(row["origin"], row["comfyui_node_id"]) for row in again["inputs"]] == [("manual", "7")]


async def test_a_deleted_node_row_stays_deleted_until_its_id_changes(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = made["inputs"][0]
    for _ in range(2):
        await remove(client, row)
    assert (await current(client, made))["version"] == "2"
    assert (await client.get(f"{ROUTE}/{made['id']}/inputs/{row['id']}")).status_code == 404
    assert (await client.patch(f"{ROUTE}/{made['id']}/inputs/{row['id']}", json={})).status_code == 404
    assert (await deployed(client, made, prompt()))["inputs"] == []
    renamed = await deployed(client, made, prompt(n1=input_node("wish")))
    assert [one["name"] for one in renamed["inputs"]] == ["wish"]
    assert [one["name"] for one in (await deployed(client, made, prompt()))["inputs"]] == ["prompt"]


async def test_adding_the_name_of_a_deleted_node_row_brings_it_back(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = made["inputs"][0]
    await remove(client, row)
    back = await add(client, made, name="prompt")
    assert (back["id"], back["origin"], back["display_name"]) == (row["id"], "node", "Prompt")


async def test_a_deleted_manual_row_is_gone_for_good(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = await add(client, made, **SEED, description="Old")
    await remove(client, row)
    fresh = await add(client, made, **SEED)
    assert (fresh["description"], fresh["id"] == row["id"]) == ("", False)
    again = await deployed(client, made, prompt())
    assert {one["id"] for one in again["inputs"]} == {fresh["id"], made["inputs"][0]["id"]}
    assert again["warnings"] == []
    # Deleting the first one is no error even now, and the second one stays.
    await remove(client, row)
    assert (await client.get(f"{ROUTE}/{made['id']}/inputs/{fresh['id']}")).status_code == 200


async def test_a_manual_row_lives_as_long_as_its_target(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = await add(client, made, **SEED)
    kept = await deployed(client, made, prompt(n2=input_node("style")))
    assert row["id"] in {one["id"] for one in kept["inputs"]}
    gone = await deployed(client, made, prompt(n7={"class_type": "Other", "inputs": {"text": ["1", 0]}}))
    assert [one["name"] for one in gone["inputs"]] == ["prompt"]
    assert any('"seed"' in warning["message"] for warning in gone["warnings"])
    assert (await client.delete(f"{ROUTE}/{made['id']}/inputs/{row['id']}")).status_code == 404


async def test_deleting_an_output_leaves_its_files_out(client: httpx.AsyncClient) -> None:
    made = await created(client, body(workflow_json=prompt(n11=output_node("mask"))))
    (mask,) = [row for row in made["outputs"] if row["name"] == "mask"]
    await remove(client, mask, "outputs")
    assert [row["name"] for row in (await current(client, made))["outputs"]] == ["image"]
    again = await deployed(client, made, prompt(n11=output_node("mask")))
    assert [row["name"] for row in again["outputs"]] == ["image"]


async def test_an_old_updated_at_is_a_conflict(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = made["inputs"][0]
    changed = await change(client, row, description="One", updated_at=row["updated_at"])
    address = f"{ROUTE}/{made['id']}/inputs/{row['id']}"
    answer = await client.patch(address, json={"description": "Two", "updated_at": row["updated_at"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    await change(client, row, description="Two", updated_at=changed["updated_at"])


async def test_changes_at_once_make_one_version_each(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    rows = [{**SEED, "name": f"s{at}", "comfyui_field_name": field} for at, field in enumerate(("seed", "steps"))]
    answers = await asyncio.gather(*(client.post(f"{ROUTE}/{made['id']}/inputs", json=row) for row in rows * 2))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    now = await current(client, made)
    assert (now["version"], len(now["inputs"])) == ("3", 3)


async def test_foreign_public_and_deleted_workflows_are_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    made = await created(client, body(is_public=True))
    row = made["inputs"][0]
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/inputs", {"json": SEED}),
        ("PATCH", f"/inputs/{row['id']}", {"json": {"description": "x"}}),
        ("DELETE", f"/inputs/{row['id']}", {}),
        ("POST", "/outputs", {"json": {"name": "x"}}),
        ("PATCH", f"/outputs/{made['outputs'][0]['id']}", {"json": {"description": "x"}}),
        ("DELETE", f"/outputs/{made['outputs'][0]['id']}", {}),
    ]
    for method, path, sent in calls:
        for workflow in (made["id"], UNKNOWN):
            answer = await other_client.request(method, f"{ROUTE}/{workflow}{path}", **sent)
            assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
        foreign = await other_client.request(method, f"{ROUTE}/any{path}", **sent)
        assert foreign.status_code == (422 if method == "POST" else 404)
    assert (await current(client, made))["version"] == "1"
    await client.delete(f"{ROUTE}/{made['id']}")
    for method, path, sent in calls:
        assert (await client.request(method, f"{ROUTE}/{made['id']}{path}", **sent)).status_code == 404


async def test_a_row_goes_by_its_own_id_below_any(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for noun in ("inputs", "outputs"):
        path = f"{ROUTE}/any/{noun}/{made[noun][0]['id']}"
        changed = await client.patch(path, json={"description": "changed"})
        assert (changed.status_code, changed.json()["description"]) == (200, "changed")
        assert (await client.get(path)).json()["description"] == "changed"
        # Again: it is gone, and that is what was asked for.
        assert [(await client.delete(path)).status_code for _ in range(2)] == [204, 204]
        assert [answer.status_code for answer in (await client.get(path), await client.patch(path, json={}))] == [
            404,
            404,
        ]
    assert (await current(client, made))["version"] == "5"


async def test_defaults_and_attributes_may_hold_any_text(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    odd, attributes = '{a,"b\\"}%(id)s', {"\0": [None, "a\0b"]}
    sent: dict[str, Any] = SEED | {"variable_type_code": "STRING", "default_value": odd, "validator_attrs": attributes}
    row = await add(client, made, **sent)
    assert (row["default_value"], row["validator_attrs"]) == (odd, attributes)
    changed = await change(client, row, default_value=odd + odd, validator_attrs={"more": attributes})
    assert (changed["default_value"], changed["validator_attrs"]) == (odd + odd, {"more": attributes})


@dataclass(frozen=True, slots=True)
class Event:
    """What the audit log says of a change."""

    action_code: str
    details: dict[str, Any]


async def test_each_change_is_recorded(client: httpx.AsyncClient, made: dict[str, Any], services: Services) -> None:
    row = await add(client, made, **SEED)
    await change(client, row, description="x")
    await change(client, row, description="x")
    await remove(client, row)
    async with services.db.system() as transaction:
        statement = """
            SELECT action_code, details FROM audit_events WHERE target_id = %(id)s ORDER BY created_at, id
        """
        events = await transaction.rows(statement, {"id": row["id"]}, row=Event)
    assert [(event.action_code, event.details["version"]) for event in events] == [
        ("comfyui_workflow_input.created", "2"),
        ("comfyui_workflow_input.updated", "3"),
        ("comfyui_workflow_input.deleted", "4"),
    ]


async def test_limits_of_a_node_reach_rows_versions_and_runs(client: httpx.AsyncClient) -> None:
    steps = input_node("steps", "Int", min="1", max="50", default_value="20", required=False)
    sampler = input_node("sampler", "Choice", choices="euler\nddim")
    nodes = prompt(n2=steps, n3=sampler)
    nodes["7"]["inputs"] |= {"steps": ["2", 0], "sampler_name": ["3", 0]}
    made = await created(client, body(workflow_json=nodes, **NOWHERE))
    rows = {row["name"]: row for row in made["inputs"]}
    assert (rows["steps"]["validator_attrs"], rows["steps"]["default_value"]) == ({"min": 1, "max": 50}, 20)
    assert rows["sampler"]["validator_attrs"] == {"choices": ["euler", "ddim"]}
    assert rows["prompt"]["validator_attrs"] is None
    kept = {row["name"]: row for row in (await frozen(client, made, "1"))["inputs"]}
    assert kept["steps"]["validator_attrs"] == {"min": 1, "max": 50}
    address = f"{ROUTE}/{made['path']}/runs"
    sent = {"prompt": "x", "steps": 80, "sampler": "Euler"}
    refused = (await client.post(address, json={"input": sent})).json()
    assert refused["errors"] == [
        {
            "loc": ["body", "input", "steps"],
            "msg": 'Input "steps" takes at most 50, but got 80.',
            "type": "out_of_range",
        },
        {
            "loc": ["body", "input", "sampler"],
            "msg": "Input \"sampler\" takes one of 'euler', 'ddim', but got the text 'Euler'. Did you mean 'euler'?",
            "type": "not_a_choice",
        },
    ]
    await change(client, rows["steps"], validator_attrs={"min": 1, "max": 100})
    assert (await client.post(address, json={"input": sent | {"sampler": "euler"}})).status_code == 201
    again = {row["name"]: row for row in (await deployed(client, made, nodes))["inputs"]}
    assert again["steps"]["validator_attrs"] == {"min": 1, "max": 100}


async def test_limits_that_leave_no_value_or_not_the_default_are_refused(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    row = await add(client, made, **SEED, validator_attrs={"min": 5, "note": "mine"})
    for sent, said in (
        ({"validator_attrs": {"min": 5, "max": 3}}, "smallest of 5, which is above its largest of 3"),
        ({"default_value": 1}, "takes at least 5, but got 1"),
    ):
        answer = await client.patch(f"{ROUTE}/{made['id']}/inputs/{row['id']}", json=sent)
        assert answer.status_code == 422
        assert said in answer.json()["message"]
    changed = await change(client, row, validator_attrs={"min": "low", "note": "mine"})
    assert changed["validator_attrs"] == {"min": "low", "note": "mine"}
    assert ['"min" in the validator_attrs' in warning["message"] for warning in changed["warnings"]] == [True]


async def test_an_optional_input_shows_what_a_run_uses_without_it(client: httpx.AsyncClient) -> None:
    nodes = prompt(n2=input_node("steps", "Int", required=False))
    nodes["7"]["inputs"]["steps"] = ["2", 0]
    nodes["7"]["_meta"] = {"runflow_widgets": {"steps": 30}}
    made = await created(client, body(workflow_json=nodes))
    row = next(row for row in made["inputs"] if row["name"] == "steps")
    assert row["default_value"] == 30
    assert next(row for row in (await frozen(client, made, "1"))["inputs"] if row["name"] == "steps").items() >= {
        "default_value": None, "effective_default": 30
    }.items()  # fmt: skip
    # What was read and is sent back pins nothing.
    await change(client, row, default_value=30)
    assert (await current(client, made))["version"] == "1"
    nodes["7"]["_meta"]["runflow_widgets"]["steps"] = 25
    again = await deployed(client, made, nodes)
    assert [row["default_value"] for row in again["inputs"]] == [None, 25]
    assert (await change(client, row, default_value=8))["default_value"] == 8
    assert (await change(client, row, default_value=None))["default_value"] == 25
    found = (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).json()
    assert found["components"]["schemas"]["Input"]["properties"]["steps"]["default"] == 25


async def test_a_row_on_any_field_shows_what_the_prompt_holds(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    row = await add(client, made, **SEED, is_required=False)
    assert row["default_value"] == 5
    nodes = prompt()
    nodes["7"]["inputs"]["seed"] = 6
    again = await deployed(client, made, nodes)
    assert [row["default_value"] for row in again["inputs"] if row["name"] == "seed"] == [6]
    answer = await client.post(f"{ROUTE}/{made['id']}/rollbacks", json={"version": "2"})
    assert [row["default_value"] for row in answer.json()["inputs"] if row["name"] == "seed"] == [5]
    again = await deployed(client, made, nodes)
    assert [row["default_value"] for row in again["inputs"] if row["name"] == "seed"] == [6]


async def test_other_organizations_see_no_text_of_a_node(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    made = await created(client, body(is_public=True))
    held = {"seed": 5, "sampler": "my own"}
    nodes = prompt()
    nodes["7"]["inputs"] |= held
    await deployed(client, made, nodes)
    for field, kind in (("seed", "int"), ("sampler", "string")):
        target = {"comfyui_node_id": "7", "comfyui_field_name": field}
        await add(client, made, name=field, variable_type_code=kind, is_required=False, **target)
    address = f"{ROUTE}/{made['id']}"
    for reader, seen in ((client, held), (other_client, {"seed": 5, "sampler": None})):
        listed = (await reader.get(f"{address}/inputs")).json()["items"]
        embedded = (await reader.get(address)).json()["inputs"]
        for rows in (listed, embedded):
            assert {row["name"]: row["default_value"] for row in rows if row["name"] in held} == seen
        document = await reader.get(f"{ROUTE}/{made['path']}/openapi.json")
        assert ("my own" in document.text) is (reader is client)
        one = next(row for row in listed if row["name"] == "sampler")
        assert (await reader.get(f"{address}/inputs/{one['id']}")).json()["default_value"] == seen["sampler"]
