"""Routes of workflows (docs/api/workflows.md)."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows import categories, create, patch, service
from runflow.workflows.schemas import (
    CategoryRecord,
    CreateWorkflow,
    ListedWorkflow,
    PatchWorkflow,
    Restoration,
    Workflow,
    WrittenWorkflow,
)

TAG = Tag("ComfyUI workflows", "Deploy, change and describe workflows, their versions, inputs and outputs.")
router = Router(TAG)

READ = any_of("comfyui-workflows:read")
DELETE = any_of("comfyui-workflows:delete")

Parts = Annotated[Services, Depends(services)]
WorkflowId = Annotated[UUID, Path(description="Id of the workflow.")]

_WORKFLOWS = "/v1/comfyui-workflows"
_TELLS_ID = f"`GET {_WORKFLOWS}/{{owner}}/{{slug}}` tells the id."
_BY_PATH = re.compile(rf"{_WORKFLOWS}/[^/]+/(runs|batches)")
_BY_ID = re.compile(
    rf"{_WORKFLOWS}/[^/]+/[^/]+/(inputs|outputs|versions|rollbacks|restorations|runtime|evaluation-stats|run-performance-stats)"
    "(/.*)?"
)
_RECORD = re.compile(rf"{_WORKFLOWS}/[^/]+/[^/]+")


@router.get("/v1/comfyui-workflows", access=READ, response_model=ListEnvelope[ListedWorkflow], summary="List workflows")
async def list_workflows(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the workflows of the organization, deleted ones excepted.

    Items carry the workflow's own fields. The documents (`workflow_json`, `graph`, `environment`, `models`,
    `custom_nodes`, `resources`), `inputs` and `outputs` are there where `fields` names them; `embed` adds `inputs`,
    `outputs` and `versions`.
    """
    return json_response(await service.list_page(parts, caller, query))


@router.post(
    "/v1/comfyui-workflows",
    access=any_of("comfyui-workflows:create"),
    errors=(errors.WorkflowInvalid,),
    status_code=201,
    response_model=WrittenWorkflow,
    summary="Deploy a workflow",
    openapi_extra=openapi_body(CreateWorkflow),
)
async def create_workflow(
    caller: Caller, parts: Parts, body: Annotated[CreateWorkflow, Depends(json_body(CreateWorkflow))]
) -> Response:
    """Deploy a workflow. Its Runflow Input and Output nodes declare its interface; `inputs` and `outputs` override it.

    The answer's `warnings` tell what works but may surprise later.
    """
    return json_response(await create.create(parts, caller, body), 201)


@router.get(
    "/v1/comfyui-workflows/categories",
    access=READ,
    response_model=ListEnvelope[CategoryRecord],
    summary="List categories",
)
async def list_categories(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List what `category_code` of a workflow may be."""
    return json_response(await categories.list_page(parts, caller, query))


@router.get(
    "/v1/comfyui-workflows/categories/{code}",
    access=READ,
    errors=(errors.CategoryNotFound,),
    response_model=CategoryRecord,
    in_document=False,  # beside `{id}/inputs` ambiguous there; the list has it all
    summary="Get a category",
)
async def get_category(
    caller: Caller,
    code: Annotated[str, Path(description="Code of the category.", examples=["image-to-image"])],
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Read one category."""
    return json_response(categories.get(code, query))


@router.get(
    "/v1/comfyui-workflows/{id}",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=Workflow,
    summary="Get a workflow",
)
async def get_workflow(
    caller: Caller,
    parts: Parts,
    id: WorkflowId,
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Read a workflow with its documents, inputs and outputs. `embed=versions` adds its versions, newest first.

    A deleted workflow of your organization is still read here: `deleted_at` says when. A public, active one of another
    organization is read without its documents (`workflow_json`, `graph`, `environment`, `models`, `custom_nodes`,
    `resources`) and versions.
    """
    return json_response(await service.get(parts, caller, id, query))


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=Workflow,
    summary="Get a workflow by its path",
)
async def get_workflow_by_path(
    caller: Caller,
    parts: Parts,
    owner: Annotated[str, Path(description="Slug of the organization.")],
    slug: Annotated[str, Path(description="Slug of the workflow.")],
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Read a workflow by the path that dispatches it: your own, or a public one of another organization."""
    return json_response(await service.get_by_path(parts, caller, owner, slug, query))


@router.patch(
    "/v1/comfyui-workflows/{id}",
    access=any_of("comfyui-workflows:edit"),
    errors=(errors.WorkflowNotFound, errors.WorkflowInvalid, errors.Conflict),
    response_model=WrittenWorkflow,
    summary="Change a workflow",
    openapi_extra=openapi_body(PatchWorkflow),
)
async def patch_workflow(
    caller: Caller,
    parts: Parts,
    id: WorkflowId,
    body: Annotated[PatchWorkflow, Depends(json_body(PatchWorkflow))],
) -> Response:
    """Change a workflow. A prompt, graph, manifest or interface that is sent makes a new, immutable version.

    Runs that are queued stay on the version that they were dispatched on.
    """
    return json_response(await patch.patch(parts, caller, id, body))


@router.delete(
    "/v1/comfyui-workflows/{id}",
    access=DELETE,
    errors=(errors.WorkflowNotFound,),
    status_code=204,
    summary="Delete a workflow",
)
async def delete_workflow(
    caller: Caller,
    parts: Parts,
    id: WorkflowId,
) -> Response:
    """Delete a workflow: dispatching it is a 404 from now on, its slug is free again, its runs stay readable."""
    await service.delete(parts, caller, id)
    return Response(status_code=204)


@router.post(
    "/v1/comfyui-workflows/{id}/restorations",
    access=DELETE,
    errors=(errors.WorkflowNotFound,),
    status_code=201,
    response_model=Workflow,
    summary="Restore a deleted workflow",
    responses={200: {"model": Workflow, "description": "The workflow was not deleted; nothing changed."}},
    openapi_extra=openapi_body(Restoration, required=False),
)
async def restore_workflow(
    caller: Caller,
    parts: Parts,
    id: WorkflowId,
    body: Annotated[Restoration, Depends(json_body(Restoration, optional=True))],
) -> Response:
    """Undo a deletion: the workflow is there again as it was. 409 where its slug was taken meanwhile."""
    found, was_deleted = await service.restore(parts, caller, id, body)
    return json_response(found, 201 if was_deleted else 200)


def meant(method: str, path: str) -> str | None:
    """Return what to ask for instead, where a workflow is addressed by the other of its two names; else None.

    Some of its parts go by its id, others by its path.
    """
    if found := _BY_PATH.fullmatch(path):
        return f"A workflow's {found[1]} go by its `path`: `{_WORKFLOWS}/{{owner}}/{{slug}}/{found[1]}`."
    if found := _BY_ID.fullmatch(path):
        return f"A workflow's {found[1]} go by its id: `{_WORKFLOWS}/{{id}}/{found[1]}`. {_TELLS_ID}"
    if method in ("PATCH", "DELETE") and _RECORD.fullmatch(path):
        return f"A workflow is changed and deleted by its id: `{_WORKFLOWS}/{{id}}`. {_TELLS_ID}"
    return None
