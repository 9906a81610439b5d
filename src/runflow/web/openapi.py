"""The OpenAPI document, served by the API itself at `/v1/openapi.json`."""

import functools
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runflow.storage.keys import base_url
from runflow.web import error_responses
from runflow.web.operation_ids import operation_id
from runflow.web.responses import dumps
from runflow.web.route_table import Access, RouteSpec, RouteTable

SPEC = RouteSpec("GET", "/v1/openapi.json", Access.PUBLIC)

DESCRIPTION = """
Turn any ComfyUI workflow into a callable HTTP API on machines you own.

Authenticate with `Authorization: Bearer rf_live_…`. Every error has the body `{"code", "message", "errors"}`; every
answer carries `Runflow-Request-Id`.
"""

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


_UNSAID = "Successful Response"
"""What FastAPI says of an answer that its route says nothing of."""


def describe(app: FastAPI, routes: RouteTable) -> None:
    """Serve the document; it is made at the first request."""

    @functools.cache
    def reference() -> dict[str, Any]:
        return document(app, routes)

    async def serve(request: Request) -> Response:
        servers = [{"url": base_url(request, request.app.state.services.settings)}]
        return Response(dumps(reference() | {"servers": servers}), media_type="application/json")

    app.state.reference = reference

    app.router.routes.append(Route(SPEC.path, serve, methods=[SPEC.method], name="openapi"))


def document(app: FastAPI, routes: RouteTable) -> dict[str, Any]:
    """Return the OpenAPI document: routes with the scopes that open them, and the one error body everywhere."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    made["tags"] = [{"name": tag.name, "description": tag.description} for tag in routes.tags]
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Error"] = ERROR_SCHEMA
    made["components"]["securitySchemes"] = {
        "HTTPBearer": {"type": "http", "scheme": "bearer", "description": "An API key, `rf_live_…`."},
        "WorkerToken": {"type": "http", "scheme": "bearer", "description": "A worker's token."},
    }
    by_name = {(route.method, route.shown_path): route for route in routes}
    failures = []
    made["paths"] = _shown(made["paths"], routes)
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            codes = _complete(by_name[method.upper(), path], operation)
            _share_body(operation, schemas)
            operation["responses"] |= error_responses.responses_of(codes)
            operation["responses"]["default"] = {
                "description": "Any other error.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
            failures.append(codes)
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    answer["description"] = _told(answer, schemas)
    made["components"]["responses"] = error_responses.components(failures)
    _complete_examples(schemas)
    return made


def _shown(paths: dict[str, Any], routes: RouteTable) -> dict[str, Any]:
    """Return the operations at the templates that the document shows, without the parameters that those lack."""
    templates = {(route.method, route.served_path): route.shown_path for route in routes}
    shown: dict[str, Any] = {}
    for path, operations in paths.items():
        for method, operation in operations.items():
            template = templates[method.upper(), path]
            operation["parameters"] = [
                parameter
                for parameter in operation.get("parameters", ())
                if parameter["in"] != "path" or f"{{{parameter['name']}}}" in template
            ]
            shown.setdefault(template, {})[method] = operation
    return shown


def _complete(route: RouteSpec, operation: dict[str, Any]) -> set[str]:
    """Give an operation its name and what opens it. Returns the codes of its errors."""
    access = route.access
    is_list = any(parameter["name"] == "q" for parameter in operation.get("parameters", ()))
    operation["operationId"] = operation_id(route.method.lower(), route.path, is_list=is_list)
    scheme = "WorkerToken" if access is Access.WORKER else "HTTPBearer"
    operation["security"] = [] if access in (Access.PUBLIC, Access.SIGNED) else [{scheme: []}]
    if not isinstance(access, Access):
        needs = " or ".join(f"`{scope}`" for scope in sorted(access))
        operation["description"] = f"{operation.get('description', '')}\n\nScope: {needs}."
    operation["responses"].pop("422", None)
    return error_responses.codes_of(route, operation)


def _complete_examples(schemas: dict[str, Any]) -> None:
    """Put null back where an example of a record needs it: FastAPI takes it out of everything."""
    for schema in schemas.values():
        for example in schema.get("examples", ()):
            for name in schema.get("required", ()):
                if {"type": "null"} in schema["properties"][name].get("anyOf", ()):
                    example.setdefault(name, None)


def _share_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the schema of a JSON body to the shared ones: generated clients make one class of it, named as it is."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        schema = content["schema"]
        if schemas.setdefault(schema["title"], schema) != schema:
            raise ValueError(f"Two schemas have the name {schema['title']}: rename the model of one.")
        content["schema"] = {"$ref": f"#/components/schemas/{schema['title']}"}


def _told(answer: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return what an answer is: what its route says, else the first sentence about its schema."""
    said: str = answer["description"]
    if said != _UNSAID:
        return said
    name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    about: str = schemas.get(name, {}).get("description", "")
    return about.partition("\n")[0] or ("One page of the list." if name.startswith("ListEnvelope") else "Done.")
