"""The OpenAPI document of one workflow: its real inputs and outputs, for generated clients and forms. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runflow.graph import InputType
from runflow.runs.openapi.input_schema import example_of, input_schema
from runflow.runs.routes import router
from runflow.runs.schemas import DispatchRequest, Run
from runflow.web import error_responses
from runflow.web.openapi import ERROR_SCHEMA
from runflow.web.route_table import RouteTable
from runflow.web.waiting import OF_A_DISPATCH, OF_A_READ

_REF = "#/components/schemas/{model}"
_RUN_ID = "0190d3a1-4b1c-7e2f-8a55-1f2e3d4c5b6a"
_NAME = re.compile(r"[^A-Za-z0-9]+")
_ROUTES = RouteTable(router.routes)
_DISPATCH_CODES = error_responses.codes_of(
    _ROUTES["POST", "/v1/comfyui-workflows/{owner}/{slug}/runs"],
    {"parameters": [{"name": "wait"}], "requestBody": {"content": {"application/json": {}}}},
)
_READ_CODES = error_responses.codes_of(_ROUTES["GET", "/v1/runs/{id}"], {"parameters": [{"name": "id"}]})
_ALWAYS = ["id", "status_code", "is_terminal"]
_FILES = {InputType.IMAGE.value: ("png", "image/png"), InputType.FILE.value: ("bin", "application/octet-stream")}


@dataclass(frozen=True, slots=True)
class Described:
    """A workflow and the frozen interface of its current version."""

    owner: str
    slug: str
    name: str
    description: str | None
    version: str
    interface: Mapping[str, Any]

    @property
    def path(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"


def document(workflow: Described, base_url: str) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document with the workflow's dispatch route and the route that reads its runs."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": workflow.name,
            "version": workflow.version,
            "description": _introduction(workflow),
        },
        "servers": [{"url": base_url}],
        "security": [{"HTTPBearer": []}],
        "tags": [{"name": "Runs", "description": "Run the workflow, and read what became of it."}],
        "paths": {
            f"/v1/comfyui-workflows/{workflow.path}/runs": {"post": _dispatch(workflow)},
            "/v1/runs/{id}": {"get": _read(workflow)},
        },
        "components": {
            "schemas": _schemas(workflow),
            "responses": error_responses.components((_DISPATCH_CODES, _READ_CODES)),
            "securitySchemes": {
                "HTTPBearer": {"type": "http", "scheme": "bearer", "description": "An API key, `rf_live_…`."}
            },
        },
        "x-runflow-outputs": [
            {
                "output_id": row["name"],
                "variable_type_code": row["variable_type_code"],
                "display_name": row["display_name"],
                "description": row["description"],
            }
            for row in workflow.interface["outputs"]
        ],
    }


def _introduction(workflow: Described) -> str:
    outputs = workflow.interface["outputs"]
    lines = [workflow.description or f"The workflow `{workflow.path}`.", ""]
    if outputs:
        lines += ["A succeeded run delivers, as `output.outputs[]`:", "", *map(_output_line, outputs)]
    else:
        lines.append("A succeeded run delivers every file that its nodes save, as `output.outputs[]`.")
    return "\n".join(lines)


def _output_line(row: Mapping[str, Any]) -> str:
    label = f": {row['display_name']}" if row["display_name"] not in ("", row["name"]) else ""
    text = f". {row['description']}" if row["description"] else ""
    return f"- `{row['name']}` ({row['variable_type_code']}){label}{text}"


def _schemas(workflow: Described) -> dict[str, Any]:
    rows = workflow.interface["inputs"]
    run = Run.model_json_schema(mode="serialization", ref_template=_REF)
    schemas = {**run.pop("$defs", {}), "Run": {**run, "required": _ALWAYS}}
    request = DispatchRequest.model_json_schema(ref_template=_REF)
    schemas |= request.pop("$defs", {})
    request.pop("examples", None)
    request["properties"] = {**request["properties"], "input": {"$ref": "#/components/schemas/Input"}}
    schemas |= {"Dispatch": {**request, "title": "Dispatch"}, "Error": ERROR_SCHEMA}
    schemas["Input"] = {
        "type": "object",
        "title": "Input",
        "description": "Values by input name.",
        "properties": {row["name"]: input_schema(row) for row in rows},
        "required": [row["name"] for row in rows if row["is_required"]],
        "additionalProperties": False,
    }
    if "RunOutputFile" in schemas and workflow.interface["outputs"]:
        properties = schemas["RunOutputFile"]["properties"]
        names = list(dict.fromkeys(row["name"] for row in workflow.interface["outputs"]))
        properties["output_id"] = {**properties["output_id"], "examples": names}
    return schemas


def _dispatch(workflow: Described) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Dispatch"}}
    example = _input_example(workflow.interface["inputs"])
    if example is not None:
        content["examples"] = {"dispatch": {"value": {"input": example, "client_ref": "ticket-4821"}}}
    queued = {"id": _RUN_ID, "status_code": "queued", "status": "queued", "is_terminal": False, "output": None}
    return {
        "operationId": f"dispatch{_title(workflow.slug)}",
        "tags": ["Runs"],
        "summary": f"Run {workflow.name}",
        "description": "Queue a run and answer at once, or with `wait` as soon as it has ended. What takes longer is "
        "read until `is_terminal`, or told to a `callback_url`.",
        "parameters": [_wait(OF_A_DISPATCH)],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "201": _answer("The run: queued, or with `wait` ended.", "Run", "queued", queued),
            **_errors(_DISPATCH_CODES),
        },
    }


def _wait(description: str) -> dict[str, Any]:
    schema = {"type": "number", "minimum": 0}
    return {"name": "wait", "in": "query", "required": False, "description": description, "schema": schema}


def _read(workflow: Described) -> dict[str, Any]:
    files = _files(workflow.interface["outputs"])
    done = {
        "id": _RUN_ID,
        "status_code": "succeeded",
        "status": "succeeded",
        "is_terminal": True,
        "output": {
            "kind": "comfyui_outputs",
            "outputs": files,
            "image_urls": [file["url"] for file in files if file["content_type"].startswith("image/")],
        },
    }
    return {
        "operationId": f"read{_title(workflow.slug)}Run",
        "tags": ["Runs"],
        "summary": "Read a run",
        "description": "URLs of outputs are signed anew on every read, and expire.",
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "Id of the run.",
                "schema": {"type": "string", "format": "uuid"},
                "example": _RUN_ID,
            },
            _wait(OF_A_READ),
        ],
        "responses": {"200": _answer("The run.", "Run", "succeeded", done), **_errors(_READ_CODES)},
    }


def _files(outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    files = []
    for at, row in enumerate(outputs):
        suffix, kind = _FILES.get(row["variable_type_code"], _FILES[InputType.FILE.value])
        filename = f"{at}-{_NAME.sub('-', row['name']).strip('-') or 'output'}.{suffix}"
        files.append(
            {
                "output_id": row["name"],
                "url": f"https://your-server.example/v1/storage/runs/{filename}?signature=…",
                "content_type": kind,
                "size_bytes": 1048576,
                "filename": filename,
                "sha256": None,
                "width": None,
                "height": None,
                "node_id": row["comfyui_node_id"],
            }
        )
    return files


def _input_example(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return an `input` that would be accepted; None where no value can be made up for a required one."""
    found = {}
    for row in rows:
        value = example_of(row)
        if value is not None:
            found[row["name"]] = value
        elif row["is_required"]:
            return None
    return found


def _answer(description: str, schema: str, name: str, value: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": {name: {"value": value}}}
    return {"description": description, "content": {"application/json": content}}


def _errors(codes: set[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        **error_responses.responses_of(codes),
        "default": {"description": "Any other error: `code` says which, `message` what to do.", "content": content},
    }


def _title(slug: str) -> str:
    return "".join(part.capitalize() for part in _NAME.split(slug) if part)
