"""Creating workflows over HTTP."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from runflow.web.services import Services
from tests.support.workflow_calls import ROUTE, created, refused
from tests.support.workflow_prompts import body, input_node, output_node, plugin_body, prompt


async def test_the_record_has_every_field_of_the_wire(client: httpx.AsyncClient, owner_slug: str) -> None:
    made = await created(client, body("My First Flow", description="d", category_code="image-to-image", is_public=True))
    assert (made["owner"], made["slug"], made["path"]) == (owner_slug, "my-first-flow", f"{owner_slug}/my-first-flow")
    assert (made["version"], made["status_code"], made["gpu_mode"]) == ("1", "active", "auto")
    assert (made["description"], made["category_code"], made["is_public"]) == ("d", "image-to-image", True)
    assert made["gpu_explicit_models"] == []
    assert made["deleted_at"] is None
    assert made["created_at"] == made["updated_at"]
    assert made["created_at"].endswith("+00:00")
    assert {"id", "org_id", "created_by", "deleted_by", "timeout_seconds", "graph", "environment", "models"} <= set(
        made
    )
    assert made["workflow_json"] == prompt()


async def test_the_interface_comes_from_the_nodes(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    (row,) = made["inputs"]
    assert row == {
        "id": row["id"],
        "comfyui_workflow_id": made["id"],
        "name": "prompt",
        "variable_type_code": "string",
        "display_name": "Prompt",
        "description": "What to paint",
        "default_behavior_code": None,
        "validator_code": None,
        "validator_attrs": None,
        "is_required": True,
        "default_value": None,
        "sort_order": 0,
        "comfyui_node_id": "1",
        "comfyui_field_name": "value",
        "origin": "node",
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    (out,) = made["outputs"]
    assert (out["name"], out["variable_type_code"], out["origin"]) == ("image", "image", "node")
    assert "is_required" not in out


async def test_what_the_plugin_sends_comes_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    sent = plugin_body()
    made = await created(client, sent)
    read = (await client.get(f"{ROUTE}/{made['id']}")).json()
    for name, value in sent.items():
        assert made[name] == value
        assert read[name] == value
    (warning,) = made["warnings"]
    assert "names no asset" in warning["message"]


async def test_the_plugins_lookup_finds_it(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    lookup = f"{ROUTE}?q=slug.eq%3A%27my-first-flow%27&limit=1"
    assert (await client.get(lookup)).json()["items"] == []
    made = await created(client, plugin_body())
    (item,) = (await client.get(lookup)).json()["items"]
    assert item["id"] == made["id"]
    assert (await other_client.get(lookup)).json()["items"] == []
    await client.delete(f"{ROUTE}/{made['id']}")
    assert (await client.get(lookup)).json()["items"] == []


@pytest.mark.parametrize("name", ["models", "custom_nodes", "resources"])
@pytest.mark.parametrize("value", [{}, [], {"a": {"x": 1}}, [{"path": "a", "url": "u"}, "text", 3], None])
async def test_manifests_may_be_objects_or_arrays(client: httpx.AsyncClient, name: str, value: Any) -> None:
    made = await created(client, body(**{name: value}))
    assert made[name] == value
    await client.delete(f"{ROUTE}/{made['id']}")


async def test_explicit_rows_override_and_add(client: httpx.AsyncClient) -> None:
    made = await created(
        client,
        body(
            inputs=[
                {"name": "prompt", "display_name": "Your wish", "is_required": False, "default_value": "a cat"},
                {
                    "name": "Aux Reference 1",
                    "variable_type_code": "INT",
                    "comfyui_node_id": "7",
                    "comfyui_field_name": "seed",
                    "default_value": "7",
                    "sort_order": 5,
                    "validator_code": "range",
                    "validator_attrs": {"min": 0},
                },
            ],
            outputs=[{"name": "image", "description": "The picture"}],
        ),
    )
    wish, seed = made["inputs"]
    assert (wish["display_name"], wish["description"], wish["is_required"]) == ("Your wish", "What to paint", False)
    assert (wish["default_value"], wish["origin"]) == ("a cat", "node")
    assert (seed["name"], seed["origin"], seed["default_value"]) == ("Aux Reference 1", "manual", 7)
    assert (seed["variable_type_code"], seed["display_name"]) == ("int", "Aux Reference 1")
    assert (seed["validator_code"], seed["validator_attrs"]) == ("range", {"min": 0})
    assert made["outputs"][0]["description"] == "The picture"


async def test_a_name_that_is_stated_twice_is_refused(client: httpx.AsyncClient) -> None:
    answer = await refused(client, body(inputs=[{"name": "prompt"}, {"name": "prompt"}]))
    assert answer["errors"][0]["loc"] == ["body", "inputs", 1, "name"]


async def test_two_inputs_cannot_write_one_field(client: httpx.AsyncClient) -> None:
    rows = [
        {"name": name, "variable_type_code": "int", "comfyui_node_id": "7", "comfyui_field_name": "seed"}
        for name in ("a", "b")
    ]
    answer = await refused(client, body(inputs=rows))
    assert answer["code"] == "WORKFLOW_INVALID"
    assert "both write" in answer["message"]


async def test_two_outputs_cannot_deliver_one_nodes_files(client: httpx.AsyncClient) -> None:
    row = {"name": "alias", "variable_type_code": "image", "comfyui_node_id": "10"}
    answer = await refused(client, body(outputs=[row]))
    assert (answer["code"], answer["errors"][0]["loc"][-1]) == ("WORKFLOW_INVALID", "10")
    made = await created(client, body(outputs=[{**row, "comfyui_node_id": "9"}]))
    assert [(out["name"], out["origin"]) for out in made["outputs"]] == [("alias", "manual"), ("image", "node")]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["L40S", "A100"], ["L40S", "A100"]),
        ([{"gpu_model_code": "L40S"}, "A100", "L40S"], ["L40S", "A100"]),
    ],
)
async def test_gpu_codes_are_texts_or_objects(client: httpx.AsyncClient, sent: Any, expected: list[str]) -> None:
    made = await created(client, body(gpu_mode="explicit", gpu_explicit_models=sent))
    assert (made["gpu_mode"], made["gpu_explicit_models"]) == ("explicit", expected)
    assert made["warnings"] == []


async def test_gpu_choices_that_surprise_are_warned_about(client: httpx.AsyncClient) -> None:
    made = await created(client, body(gpu_explicit_models=["l40s"]))
    first, second = made["warnings"]
    assert "L40S" in first["message"]
    assert "auto" in second["message"]


async def test_a_graph_in_ui_format_is_told_how_to_export(client: httpx.AsyncClient) -> None:
    answer = await refused(client, body(workflow_json={"nodes": [], "links": [], "version": 0.4}))
    assert answer["code"] == "WORKFLOW_INVALID"
    assert "Export (API)" in answer["message"]
    assert answer["errors"][0]["loc"] == ["body", "workflow_json"]


@pytest.mark.parametrize(
    "workflow_json", [None, [], "x", {}, {"1": 5}, {"1": {"inputs": {}}}, {"1": {"class_type": "A"}}]
)
async def test_what_is_no_prompt_is_refused(client: httpx.AsyncClient, workflow_json: Any) -> None:
    assert (await refused(client, body(workflow_json=workflow_json)))["code"] == "WORKFLOW_INVALID"


@pytest.mark.parametrize(
    ("nodes", "node"),
    [
        ({"n2": input_node("prompt", "Int")}, "2"),
        ({"n1": input_node("p" * 256)}, "1"),
        ({"n1": input_node("a\u0000b")}, "1"),
        ({"n1": input_node("a", display_name="a\u0000b")}, "1"),
        ({"n1": input_node("a", description="d" * 10_001)}, "1"),
        ({"n" + "9" * 256: output_node("x")}, "9" * 100),
        ({"n11": output_node("x\u0000")}, "11"),
        ({"n1": input_node("n", "Int", value="many")}, "1"),
    ],
)
async def test_a_node_that_cannot_declare_is_named(client: httpx.AsyncClient, nodes: dict[str, Any], node: str) -> None:
    answer = await refused(client, body(workflow_json=prompt(**nodes)))
    assert answer["code"] == "WORKFLOW_INVALID"
    assert answer["errors"][0]["loc"] == ["body", "workflow_json", node]


async def test_ten_thousand_nodes_and_no_more(client: httpx.AsyncClient) -> None:
    nodes = {str(number): {"class_type": "PrimitiveInt", "inputs": {"value": number}} for number in range(10_000)}
    made = await created(client, body(workflow_json=nodes))
    assert made["workflow_json"] == nodes
    answer = await refused(client, body("Second", workflow_json={**nodes, "x": nodes["1"]}))
    assert "10000" in answer["message"].replace(",", "")


async def test_documents_nested_too_deep_are_refused(client: httpx.AsyncClient) -> None:
    raw = b'{"name": "Deep", "workflow_json": ' + orjson.dumps(prompt()) + b', "graph": ' + b'{"a":' * 300
    answer = await client.post(ROUTE, content=raw + b"1" + b"}" * 301, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "graph"]
    answer = await client.post(ROUTE, content=b"[" * 5000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_JSON")


async def test_nul_characters_in_documents_come_back(client: httpx.AsyncClient) -> None:
    nodes = prompt(n7={"class_type": "KSampler", "inputs": {"text": "a\u0000b", "k\u0000": 1}})
    made = await created(client, body(workflow_json=nodes, models={"m\u0000": {"url": "\u0000"}}))
    read = (await client.get(f"{ROUTE}/{made['id']}")).json()
    assert read["workflow_json"] == nodes
    assert read["models"] == {"m\u0000": {"url": "\u0000"}}


async def test_a_taken_slug_is_a_conflict(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    await created(client, body(slug="same"))
    answer = await refused(client, body("Other", slug="same"), 409)
    assert answer["code"] == "CONFLICT"
    assert '"same"' in answer["message"]
    await created(other_client, body(slug="same"))


async def test_a_race_for_a_slug_has_one_winner(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(ROUTE, json=body(slug="contested")) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    items = (await client.get(f"{ROUTE}?q=slug:contested")).json()["items"]
    assert len(items) == 1


async def test_a_slug_is_free_again_after_a_delete(client: httpx.AsyncClient) -> None:
    first = await created(client, body())
    await client.delete(f"{ROUTE}/{first['id']}")
    second = await created(client, body())
    assert second["slug"] == first["slug"]
    assert second["id"] != first["id"]


async def test_warnings_say_what_may_surprise(client: httpx.AsyncClient) -> None:
    nodes = prompt()
    del nodes["10"]
    made = await created(
        client,
        body(workflow_json=nodes, models={"loras/x.safetensors": {}}, is_pubic=True, version="beta", updated_at="x"),
    )
    text = " ".join(f"{warning['message']} {warning['next_step']}" for warning in made["warnings"])
    assert "no output" in text
    assert "loras/x.safetensors" in text
    assert '"is_pubic"' in text
    assert '"is_public"' in text
    assert "'beta' was ignored" in text
    assert "updated_at" not in text
    assert {"node_id", "message", "next_step"} == set(made["warnings"][0])


async def test_nothing_is_stored_when_it_is_refused(client: httpx.AsyncClient) -> None:
    await refused(client, body(inputs=[{"name": "x"}]))
    assert (await client.get(ROUTE)).json()["items"] == []


async def test_the_scope_to_create_is_needed(client: httpx.AsyncClient, make_key: Any, services: Services) -> None:
    for scope, status in (("comfyui-workflows:create", 201), ("comfyui-workflows:edit", 403)):
        headers = {"Authorization": f"Bearer {await make_key((scope,))}"}
        assert (await client.post(ROUTE, json=body(), headers=headers)).status_code == status
