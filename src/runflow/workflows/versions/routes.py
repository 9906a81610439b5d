"""Routes of versions (docs/api/workflows.md, "Versions and rollbacks")."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows.golden.schemas import Promotion
from runflow.workflows.routes import TAG
from runflow.workflows.schemas import WrittenWorkflow
from runflow.workflows.versions import service
from runflow.workflows.versions.schemas import Rollback, WholeVersion, WorkflowVersion

router = Router(TAG)

READ = any_of("comfyui-workflows:read")

Parts = Annotated[Services, Depends(services)]
WorkflowId = Annotated[UUID, Path(description="Id of the workflow.")]
AnyWorkflow = Annotated[UUID | Literal["any"], Path(description="Id of the workflow, or `any`.")]


@router.get(
    "/v1/comfyui-workflows/{id}/versions",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[WorkflowVersion],
    summary="List a workflow's versions",
)
async def list_versions(
    caller: Caller, parts: Parts, id: WorkflowId, query: Annotated[ListQuery, Depends(list_query)]
) -> Response:
    """List the versions of a workflow, newest first; those of a deleted one too.

    The documents and the frozen `interface` are in the items where `fields` names them.
    """
    return json_response(await service.list_page(parts, caller, id, query))


@router.get(
    "/v1/comfyui-workflows/{id}/versions/{version}",
    access=READ,
    errors=(errors.WorkflowNotFound, errors.WorkflowVersionNotFound),
    shown_as="/v1/comfyui-workflows/any/versions/{version}",
    response_model=WholeVersion,
    summary="Get a workflow's version",
)
async def get_version(
    caller: Caller,
    parts: Parts,
    id: AnyWorkflow,
    version: Annotated[str, Path(description="Id of the version; of a workflow that is named, its number as well.")],
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Read one version with its documents and its frozen interface."""
    workflow = id if isinstance(id, UUID) else None
    return json_response(await service.get(parts, caller, workflow, version, query))


@router.post(
    "/v1/comfyui-workflows/{id}/rollbacks",
    access=any_of("comfyui-workflows:edit"),
    errors=(errors.WorkflowNotFound, errors.WorkflowVersionNotFound, errors.WorkflowInvalid),
    status_code=201,
    response_model=WrittenWorkflow,
    summary="Go back to an earlier version",
    openapi_extra=openapi_body(Rollback),
)
async def roll_back(
    caller: Caller, parts: Parts, id: WorkflowId, body: Annotated[Rollback, Depends(json_body(Rollback))]
) -> Response:
    """Make a new version with the documents of an earlier one, and its inputs and outputs exactly as they were.

    Rows that were added or edited by hand come back as they stood in that version, rows deleted by hand then are
    deleted again, and rows added by hand since are removed, with a warning. The workflow's own fields (name, slug, GPU
    choice, …) stay.
    """
    return json_response(await service.roll_back(parts, caller, id, body), 201)


@router.post(
    "/v1/comfyui-workflows/{id}/promotions",
    access=any_of("comfyui-workflows:edit"),
    errors=(errors.WorkflowNotFound, errors.WorkflowVersionNotFound, errors.Conflict),
    status_code=201,
    response_model=WrittenWorkflow,
    summary="Let a version serve",
    openapi_extra=openapi_body(Promotion),
)
async def promote(
    caller: Caller, parts: Parts, id: WorkflowId, body: Annotated[Promotion, Depends(json_body(Promotion))]
) -> Response:
    """Let a version serve that a golden run has kept back, whatever the golden run said or says yet."""
    return json_response(await service.promote(parts, caller, id, body), 201)
