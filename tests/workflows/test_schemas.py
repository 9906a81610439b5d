"""What the fields of a body may hold, over HTTP."""

from typing import Any

import httpx
import orjson
import pytest

from tests.support.workflow_calls import ROUTE, created, refused
from tests.support.workflow_prompts import body


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": None}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"description": "a\u0000b"}, "description"),
        ({"category_code": "nope"}, "category_code"),
        ({"category_code": "a\u0000"}, "category_code"),
        ({"status_code": "draft"}, "status_code"),
        ({"gpu_mode": "cheap"}, "gpu_mode"),
        ({"gpu_mode": "explicit"}, "gpu_explicit_models"),
        ({"gpu_explicit_models": ["a,b"]}, "gpu_explicit_models"),
        ({"gpu_explicit_models": ["auto"]}, "gpu_explicit_models"),
        ({"gpu_explicit_models": [{"x": 1}]}, "gpu_explicit_models"),
        ({"gpu_explicit_models": ["a\u0000b"]}, "gpu_explicit_models"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 86_401}, "timeout_seconds"),
        ({"timeout_seconds": 2**31}, "timeout_seconds"),
        ({"timeout_seconds": "60"}, "timeout_seconds"),
        ({"is_public": "yes"}, "is_public"),
        ({"graph": []}, "graph"),
        ({"environment": "linux"}, "environment"),
        ({"models": "all"}, "models"),
        ({"inputs": {}}, "inputs"),
        ({"slug": "Bad Slug"}, "slug"),
        ({"slug": "-a"}, "slug"),
        ({"slug": "a" * 101}, "slug"),
        ({"slug": "inputs"}, "slug"),
        ({"slug": "0197f3a0-0000-7000-8000-000000000001"}, "slug"),
        ({"slug": "a\u0000"}, "slug"),
        ({"name": "Ünï"}, None),
        ({"name": "猫"}, "slug"),
        ({"name": "Inputs"}, "slug"),
    ],
)
async def test_a_bad_field_is_named(client: httpx.AsyncClient, fields: dict[str, Any], where: str | None) -> None:
    if where is None:
        await created(client, body(**fields))
        return
    answer = await refused(client, body(**fields))
    assert answer["code"] == "VALIDATION_ERROR"
    assert answer["errors"][0]["loc"][:2] == ["body", where]
    assert where in answer["message"]


@pytest.mark.parametrize("missing", ["name", "workflow_json"])
async def test_name_and_prompt_are_required(client: httpx.AsyncClient, missing: str) -> None:
    sent = body()
    del sent[missing]
    assert (await refused(client, sent))["errors"][0]["loc"] == ["body", missing]


async def test_a_bad_slug_gets_a_suggestion(client: httpx.AsyncClient) -> None:
    answer = await refused(client, body(slug="Background Removal v2.1"))
    assert "background-removal-v21" in answer["message"]


async def test_the_limits_themselves_are_accepted(client: httpx.AsyncClient) -> None:
    made = await created(client, body("n" * 100, timeout_seconds=86_400, description="d" * 10_000))
    assert made["slug"] == "n" * 100
    assert made["timeout_seconds"] == 86_400


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"name": "x"}, "variable_type_code"),
        ({"name": "x", "variable_type_code": "int"}, "comfyui_node_id"),
        ({"name": "x", "variable_type_code": "int", "comfyui_node_id": "77"}, "comfyui_node_id"),
        (
            {"name": "x", "variable_type_code": "int", "comfyui_node_id": "7", "comfyui_field_name": "sneed"},
            "comfyui_field_name",
        ),
        ({"name": "prompt", "variable_type_code": "int"}, "variable_type_code"),
        (
            {"name": "x", "variable_type_code": "int", "comfyui_node_id": "7", "comfyui_field_name": "seed",
             "default_value": "many"},
            "default_value",
        ),
        ({"name": "", "variable_type_code": "int"}, "name"),
        ({"name": "prompt", "variable_type_code": "colour"}, "variable_type_code"),
        ({"name": "prompt", "is_required": "yes"}, "is_required"),
        ({"name": "prompt", "sort_order": 2**40}, "sort_order"),
        ({"name": "prompt", "display_name": "a\u0000b"}, "display_name"),
        ({"name": "p" * 256}, "name"),
    ],
)  # fmt: skip
async def test_an_explicit_row_that_cannot_be_is_named(
    client: httpx.AsyncClient, row: dict[str, Any], field: str
) -> None:
    answer = await refused(client, body(inputs=[{"name": "prompt"}, row] if row["name"] != "prompt" else [row]))
    assert answer["code"] == "VALIDATION_ERROR"
    assert answer["errors"][0]["loc"][:2] == ["body", "inputs"]
    assert answer["errors"][0]["loc"][3] == field


async def test_validator_attributes_nested_too_deep_are_refused(client: httpx.AsyncClient) -> None:
    deep = b'{"a":' * 252 + b"1" + b"}" * 252
    raw = orjson.dumps(body())[:-1] + b',"inputs":[{"name":"prompt","validator_attrs":' + deep + b"}]}"
    answer = await client.post(ROUTE, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "inputs", 0, "validator_attrs"]
