"""Records that `fields` thins out still fit their schema."""

from typing import Any

import httpx

from runflow.web.lists.spec import free_projected


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}


def test_only_records_that_can_be_thinned_lose_what_is_required() -> None:
    def reference(name: str) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/{name}"}

    fields = [{"name": "fields", "in": "query"}]
    document: dict[str, Any] = {
        "paths": {
            "/things": {
                "get": {"parameters": fields, **_answer(reference("Page"))},
                "post": _answer(reference("Made")),
            },
            "/things/one": {"get": {"parameters": fields, **_answer(reference("Other"))}},
            "/bare": {"get": {"parameters": fields, **_answer({"type": "object", "required": ["a"]})}},
        },
        "components": {
            "schemas": {
                "Page": {"required": ["items"], "properties": {"items": {"items": reference("Thing")}}},
                "Thing": {"required": ["id"], "properties": {"part": reference("Part")}},
                "Part": {"required": ["id"]},
                "Made": {"required": ["id"]},
                "Other": {"required": ["id"]},
            }
        },
    }
    free_projected(document)
    schemas = document["components"]["schemas"]
    assert {name for name, schema in schemas.items() if "required" in schema} == {"Page", "Part", "Made"}


async def test_it_is_done_to_the_real_document(anonymous: httpx.AsyncClient) -> None:
    schemas = (await anonymous.get("/v1/openapi.json")).json()["components"]["schemas"]
    for name in ("Run", "Workflow", "ListedWorkflow", "WorkflowInput", "WorkflowOutput", "WholeVersion"):
        assert "required" not in schemas[name], name
    assert schemas["ListEnvelope_Run_"]["required"] == ["items"]
