"""The OpenAPI document is complete: every operation says what it does, what it answers and how it fails."""

from itertools import combinations
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from runflow.server import ROUTES
from runflow.web.route_table import Access
from runflow.workflows.queries import DOCUMENTS as WORKFLOW_DOCUMENTS

UNDESCRIBED = {
    *("/", "/v1/openapi.json", "/docs", "/docs/{name}", "/llms.txt"),
    # Beside paths below an id they would be ambiguous; their lists have it all.
    *("/v1/comfyui-workflows/categories/{code}", "/v1/webhooks/event-types/{code}"),
}


@pytest.fixture
async def document(anonymous: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await anonymous.get("/v1/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, one) for path, found in document["paths"].items() for method, one in found.items()]


async def test_every_group_of_routes_is_described_and_has_its_place(document: dict[str, Any]) -> None:
    used = {tag for _, _, one in operations(document) for tag in one["tags"]}
    assert used == {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])


async def test_every_route_of_the_table_is_described(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for method, path, _ in operations(document)}
    wanted = {(route.method, route.shown_path) for route in ROUTES}
    # What GET says holds for HEAD.
    assert {one for one in wanted if one[1] not in UNDESCRIBED and one[0] != "HEAD"} == described


def ambiguous(one: str, other: str) -> bool:
    """Tell whether validators call two templates ambiguous: the same segments could be meant, none is more exact."""
    pairs = list(zip(one.split("/"), other.split("/"), strict=False))
    fits = all(a == b or a.startswith("{") or b.startswith("{") for a, b in pairs)
    return one.count("/") == other.count("/") and fits and one.count("{") == other.count("{")


async def test_no_two_paths_are_ambiguous(document: dict[str, Any]) -> None:
    assert ambiguous("/v1/runs/{id}/logs", "/v1/runs/any/{name}")
    assert not ambiguous("/v1/runs/{id}", "/v1/runs/statuses") and not ambiguous("/a/{id}/b", "/a/{id}/c")
    assert [pair for pair in combinations(document["paths"], 2) if ambiguous(*pair)] == []


async def test_the_parameters_of_a_path_are_declared_and_no_others(document: dict[str, Any]) -> None:
    for method, path, one in operations(document):
        declared = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"]
        assert sorted(declared) == sorted(part[1:-1] for part in path.split("/") if part.startswith("{")), (
            method,
            path,
        )


MAY_LACK = {
    "BatchItem": {"run"},
    "EmbeddedEvaluation": {"judges", "action", "gate_failures", "run"},
    "ListedBatch": {"items", "input"},
    "LogLine": {"run"},
    "Workflow": {*WORKFLOW_DOCUMENTS, "versions", "golden_run"},
    "WrittenWorkflow": {*WORKFLOW_DOCUMENTS, "versions", "golden_run"},
}
"""What `embed`, or `fields` of a list, adds, and what a workflow of another organization lacks."""


async def test_what_is_always_there_is_required(document: dict[str, Any]) -> None:
    """A generated client calls what is not required possibly undefined."""
    schemas = document["components"]["schemas"]
    answered = {
        name
        for _, path, one in operations(document)
        if not path.startswith("/v1/worker/")
        for status, answer in one["responses"].items()
        if status.startswith("2")
        for name in references(answer, schemas)
    }
    assert {"Run", "Workflow", "AssetRecord", "WebhookDelivery", "RunOutput", "ListEnvelope_Run_"} <= answered
    lacking = {
        name: found
        for name in answered
        if (found := set(schemas[name].get("properties", ())).difference(schemas[name].get("required", ())))
    }
    assert lacking == MAY_LACK


def references(part: Any, schemas: dict[str, Any], seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all schemas that a part of the document leads to."""
    if isinstance(part, list):
        return set().union(*(references(one, schemas, seen) for one in part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*(references(one, schemas, seen) for key, one in part.items() if key != "examples"))
    name = str(part.get("$ref", "")).rpartition("/schemas/")[2]
    if name and name not in seen:
        found |= {name} | references(schemas[name], schemas, seen | {name})
    return found


async def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    silent = [
        f"{method} {path}"
        for method, path, one in operations(document)
        if not one.get("summary") or not one.get("description") or not one.get("tags")
    ]
    assert silent == []


async def test_every_success_has_a_schema(document: dict[str, Any]) -> None:
    bare = []
    for method, path, one in operations(document):
        for status, answer in one["responses"].items():
            if status.startswith("2") and status != "204" and not path.startswith("/v1/storage/"):
                content = answer.get("content", {})
                if not any(kind.get("schema") or "event-stream" in name for name, kind in content.items()):
                    bare.append(f"{method} {path} {status}")
    assert bare == []


async def test_every_way_to_fail_is_a_response_with_the_one_envelope(document: dict[str, Any]) -> None:
    for method, path, one in operations(document):
        failures = {status for status in one["responses"] if status[0] in "45"}
        assert {"500", "503"} <= failures, f"{method} {path}"
        access = next(route.access for route in ROUTES if (route.method.lower(), route.shown_path) == (method, path))
        if access not in (Access.PUBLIC, Access.SIGNED):
            assert "401" in failures, f"{method} {path}"
    for name, response in document["components"]["responses"].items():
        examples = response["content"]["application/json"]["examples"]
        assert examples, name
        assert all(set(one["value"]) == {"code", "message", "errors"} for one in examples.values())


async def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [one["operationId"] for _, _, one in operations(document)]
    assert len(names) == len(set(names))
    assert {"list_runs", "get_run", "create_comfyui_workflow_run", "list_run_logs", "get_batch_item"} <= set(names)
    assert {"get_comfyui_workflow", "get_comfyui_workflow_by_path", "get_comfyui_workflow_openapi"} <= set(names)
    summaries = [one["summary"] for _, _, one in operations(document)]
    assert len(summaries) == len(set(summaries))


async def test_a_missing_thing_is_named_by_what_the_route_reads(document: dict[str, Any]) -> None:
    paths = document["paths"]
    of_log = paths["/v1/runs/{run_id}/logs/{id}"]["get"]["responses"]["404"]["$ref"]
    assert of_log == "#/components/responses/RUN_LOG_NOT_FOUND"
    of_input = paths["/v1/comfyui-workflows/any/inputs/{id}"]["get"]["responses"]["404"]["$ref"]
    assert of_input == "#/components/responses/COMFYUI_WORKFLOW_INPUT_NOT_FOUND-COMFYUI_WORKFLOW_NOT_FOUND"
    for method, path, one in operations(document):
        # A file may be sent to any key that was signed.
        if "{" in path and (method, path) != ("put", "/v1/storage/{key}"):
            assert "404" in one["responses"], f"{method} {path}"


async def test_bodies_and_times_have_types_for_generated_clients(document: dict[str, Any]) -> None:
    bodies = [
        one["requestBody"]["content"]["application/json"]["schema"]
        for _, _, one in operations(document)
        if "application/json" in one.get("requestBody", {}).get("content", {})
    ]
    assert bodies and all(set(body) == {"$ref"} for body in bodies)
    schemas = document["components"]["schemas"]
    assert "input" in schemas["DispatchRequest"]["properties"]
    assert schemas["Run"]["properties"]["created_at"]["format"] == "date-time"


async def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Run"]["examples"]
    for name, schema in schemas.items():
        validator = OAS31Validator(
            {**schema, "components": document["components"]}, format_checker=oas31_format_checker
        )
        for example in schema.get("examples", ()):
            assert [f"{name}: {fault.message}" for fault in validator.iter_errors(example)] == []
    assert set(schemas["Run"]["examples"][0]) == set(schemas["Run"]["properties"])


async def test_the_document_says_where_the_server_is_and_nothing_of_how_it_was_made(
    anonymous: httpx.AsyncClient,
) -> None:
    answer = await anonymous.get("/v1/openapi.json")
    assert answer.json()["servers"] == [{"url": "http://testserver"}]
    for name in (".md", "Successful Response"):
        assert name not in answer.text
