"""The OpenAPI document, served by the API itself at `/v1/openapi.json`."""

import functools
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runflow.web import error_responses
from runflow.web.lists.optional import free_projected
from runflow.web.responses import dumps
from runflow.web.scopes import ROUTE_SCOPES, Access

PATH = "/v1/openapi.json"

DESCRIPTION = """
Turn any ComfyUI workflow into a callable HTTP API on machines you own.

Authenticate with `Authorization: Bearer rf_live_…`. Every error has the body `{"code", "message", "errors"}`; every
answer carries `Runflow-Request-Id`.
"""

TAGS = {
    "ComfyUI workflows": "Deploy, change and describe workflows, their versions, inputs and outputs.",
    "Runs": "Dispatch workflows; read, follow, cancel and repeat runs.",
    "Batches": "Many runs of one workflow, dispatched together.",
    "Assets": "Files for inputs and resources, in folders.",
    "Callbacks": "What was told about one run or batch, and the secrets that sign it.",
    "Webhooks": "Addresses that are told of every event.",
    "Evaluations": "Verdicts on the quality of images.",
    "Statistics": "How the runs of a workflow did.",
    "Billing": "Usage, costs and budgets.",
    "Account": "Organizations, members, API keys and audit events.",
    "GPUs": "GPU classes and their prices.",
    "Models": "Model files that workers fetch from this server.",
    "Workers": "The machines, and the API that they speak.",
    "Storage": "Files behind signed URLs.",
    "Status": "Is the server alive and ready.",
}
"""The groups of routes, in the order in which a reader wants them."""

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message", "errors"],
    "properties": {
        "code": {"type": "string", "description": "Stable identifier."},
        "message": {"type": "string", "description": "What failed, where, and what to do next."},
        "errors": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}


def describe(app: FastAPI) -> None:
    """Serve the document; it is made at the first request."""

    @functools.cache
    def reference() -> dict[str, Any]:
        return document(app)

    @functools.cache
    def text() -> bytes:
        return dumps(reference())

    async def serve(request: Request) -> Response:
        return Response(text(), media_type="application/json")

    app.state.reference = reference

    app.router.routes.append(Route(PATH, serve, methods=["GET"], name="openapi"))


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: routes with the scopes that open them, and the one error body everywhere."""
    made = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
    )
    made["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Error"] = ERROR_SCHEMA
    made["components"]["responses"] = error_responses.components()
    made["components"]["securitySchemes"] = {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            access = _access(method.upper(), path)
            open_to_all = access in (Access.PUBLIC, Access.SIGNED)
            operation["security"] = [] if open_to_all else [{"HTTPBearer": []}]
            if isinstance(access, frozenset):
                needs = " or ".join(f"`{scope}`" for scope in sorted(access))
                operation["description"] = f"{operation.get('description', '')}\n\nScope: {needs}."
            operation["responses"].pop("422", None)
            operation["responses"] |= error_responses.responses_of(method, path, operation, access)
            operation["responses"]["default"] = {
                "description": "An error.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
    free_projected(made)
    return made


def _access(method: str, path: str) -> frozenset[str] | Access:
    for (known_method, known_path), access in ROUTE_SCOPES.items():
        if known_method == method and known_path.replace(":path}", "}") == path:
            return access
    return Access.PUBLIC
