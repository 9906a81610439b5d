"""The OpenAPI document of one workflow: valid, true to what the server takes, with examples that are accepted."""

from typing import Any

import httpx
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from runflow import errors
from runflow.graph import InputType, Interface, validate_values
from runflow.runs.openapi.document import Described, document
from runflow.workflows.interface.declared import first_rows, read_declared, settle
from tests.support.workflow_calls import NOWHERE, ROUTE, created
from tests.support.workflow_prompts import body, input_node, output_node, prompt

NODES = prompt(
    n2=input_node("Aux Reference 1", "Image", display_name="Reference", required=False),
    n3=input_node("steps", "Int", required=False, value=20),
    n4=input_node("strength", "Float", required=False),
    n5=input_node("fast", "Boolean"),
    n6=input_node("script", "File", file_name="a.txt", required=False),
    n11=output_node("mask", output_name="Mask"),
)


def check(made: dict[str, Any]) -> None:
    """Fail unless the document is OpenAPI 3.1 and each of its examples fits the schema beside it."""
    OpenAPIV31SpecValidator(made).validate()
    for place, content in contents(made):
        schema = {**content["schema"], "components": made["components"]}
        for example in content.get("examples", {}).values():
            faults = [
                f"{place} {error.json_path}: {error.message}"
                for error in validator(schema).iter_errors(example["value"])
            ]
            assert faults == []


def contents(made: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            found += [(f"{method} {path}", each["content"]["application/json"]) for each in bodies if "content" in each]
    return found


def validator(schema: dict[str, Any]) -> Any:
    return OAS31Validator(schema, format_checker=oas31_format_checker)


def sent_example(made: dict[str, Any], path: str) -> dict[str, Any]:
    content = made["paths"][f"/v1/comfyui-workflows/{path}/runs"]["post"]["requestBody"]["content"]
    return dict(content["application/json"]["examples"]["dispatch"]["value"])


async def test_it_is_valid_and_tells_the_real_inputs(client: httpx.AsyncClient) -> None:
    made = await created(client, body("Swap", workflow_json=NODES, description="Swaps."))
    answer = await client.get(f"{ROUTE}/{made['path']}/openapi.json")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    check(found)
    assert (found["info"]["title"], found["info"]["version"]) == ("Swap", "1")
    assert found["servers"] == [{"url": "http://testserver"}]
    assert set(found["paths"]) == {f"/v1/comfyui-workflows/{made['path']}/runs", "/v1/runs/{id}"}
    inputs = found["components"]["schemas"]["Input"]
    assert inputs["required"] == ["prompt", "fast"]
    assert inputs["additionalProperties"] is False
    kinds = {name: (schema["type"], schema["x-runflow-type"]) for name, schema in inputs["properties"].items()}
    assert kinds == {
        "prompt": ("string", "string"),
        "Aux Reference 1": (["string", "null"], "image"),
        "steps": (["integer", "null"], "int"),
        "strength": (["number", "null"], "float"),
        "fast": ("boolean", "boolean"),
        "script": (["string", "null"], "file"),
    }
    assert (inputs["properties"]["prompt"]["title"], inputs["properties"]["prompt"]["description"]) == (
        "Prompt",
        "What to paint",
    )
    assert inputs["properties"]["steps"]["default"] == 20
    assert "default" not in inputs["properties"]["script"]
    assert [(row["output_id"], row["display_name"]) for row in found["x-runflow-outputs"]] == [
        ("image", "image"),
        ("mask", "Mask"),
    ]


async def test_its_example_is_accepted_as_it_is(client: httpx.AsyncClient) -> None:
    made = await created(client, body(workflow_json=NODES, **NOWHERE))
    found = (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).json()
    answer = await client.post(f"{ROUTE}/{made['path']}/runs", json=sent_example(found, made["path"]))
    assert answer.status_code == 201, answer.text
    run = answer.json()
    schema = {"$ref": "#/components/schemas/Run", "components": found["components"]}
    for shown in (run, (await client.get(f"/v1/runs/{run['id']}")).json()):
        assert [error.message for error in validator(schema).iter_errors(shown)] == []


async def test_it_follows_the_interface(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    row = made["inputs"][0]
    sent = {"validator_attrs": {"choices": ["cat", "dog"]}, "default_value": "cat", "is_required": False}
    assert (await client.patch(f"{ROUTE}/{made['id']}/inputs/{row['id']}", json=sent)).status_code == 200
    found = (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).json()
    check(found)
    assert found["info"]["version"] == "2"
    schema = found["components"]["schemas"]["Input"]["properties"]["prompt"]
    assert (schema["enum"], schema["default"]) == (["cat", "dog", None], "cat")


async def test_a_workflow_without_outputs_or_inputs(client: httpx.AsyncClient) -> None:
    nodes = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    made = await created(client, {"name": "Plain", "workflow_json": nodes})
    found = (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).json()
    check(found)
    assert sent_example(found, made["path"])["input"] == {}
    assert found["x-runflow-outputs"] == []


async def test_what_is_not_there(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    made = await created(client, body(is_public=True))
    assert (await other_client.get(f"{ROUTE}/{made['path']}/openapi.json")).status_code == 200
    for path in ("nobody/nothing", f"{made['owner']}/nothing", "a%00/b"):
        answer = await client.get(f"{ROUTE}/{path}/openapi.json")
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
    await client.delete(f"{ROUTE}/{made['id']}")
    assert (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).status_code == 404


_KINDS = ["String", "Int", "Float", "Boolean", "Image", "File"]
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(str.strip)
_NUMBERS = st.one_of(st.none(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), _TEXT)
_ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "min": _NUMBERS, "max": _NUMBERS, "min_length": _NUMBERS, "max_length": _NUMBERS,
        "choices": st.lists(_NUMBERS | st.booleans(), max_size=3), "pattern": _TEXT | st.integers(),
    },
)  # fmt: skip


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(_TEXT, st.sampled_from(_KINDS), st.booleans(), _ATTRIBUTES),
        max_size=4,
        unique_by=lambda row: row[0].strip(),
    )
)
def test_whatever_is_deployed_gives_a_valid_document(rows: list[tuple[str, str, bool, dict[str, Any]]]) -> None:
    nodes = {
        str(at): input_node(name, kind, required=required) for at, (name, kind, required, _) in enumerate(rows, 20)
    }
    declared = read_declared({**prompt(), **nodes})
    stated = [{"name": name.strip(), "validator_attrs": attributes} for name, _, _, attributes in rows]
    try:
        settled = settle(declared.prompt, *first_rows(declared), [row for row in stated if row["name"] != "prompt"], [])
    except errors.ValidationFailed:
        reject()  # limits that leave no value
    workflow = Described("acme", "flow", "Flow", None, "1", settled.frozen())
    made = document(workflow, "https://api.example")
    check(made)
    request = made["paths"]["/v1/comfyui-workflows/acme/flow/runs"]["post"]["requestBody"]["content"][
        "application/json"
    ]
    if "examples" in request:
        values = request["examples"]["dispatch"]["value"]["input"]
        assert validate_values(Interface.from_dict(workflow.interface), values).ok


@pytest.mark.parametrize("kind", list(InputType))
def test_every_type_has_a_schema(kind: InputType) -> None:
    row = {
        "name": "x", "variable_type_code": kind.value, "display_name": "", "description": "", "is_required": True,
        "default_value": None, "sort_order": 0, "comfyui_node_id": "1", "comfyui_field_name": "value", "origin": "node",
    }  # fmt: skip
    made = document(Described("a", "b", "B", None, "1", {"inputs": [row], "outputs": []}), "https://api.example")
    check(made)
    assert "x" in sent_example(made, "a/b")["input"]


async def test_its_parameters_are_those_of_the_servers_own_document(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    mine = (await client.get(f"{ROUTE}/{made['path']}/openapi.json")).json()["paths"]
    whole = (await client.get("/v1/openapi.json")).json()["paths"]
    for path, method, same in (
        (f"{ROUTE}/{made['path']}/runs", "post", f"{ROUTE}/{{owner}}/{{slug}}/runs"),
        ("/v1/runs/{id}", "get", "/v1/runs/{id}"),
    ):
        ours, theirs = [
            {
                (one["name"], one["description"], one["schema"]["type"], one["schema"].get("minimum"))
                for one in document["parameters"]
                if one["name"] == "wait"
            }
            for document in (mine[path][method], whole[same][method])
        ]
        assert len(ours) == 1 and ours == theirs
