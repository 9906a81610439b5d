"""Routes of golden runs and of what examples need no checking for (docs/api/workflows.md, "Golden runs")."""

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
from runflow.workflows.golden import service
from runflow.workflows.golden.schemas import Example, GoldenRun, NewGoldenRun, WholeGoldenRun
from runflow.workflows.routes import TAG

router = Router(TAG)

READ = any_of("comfyui-workflows:read")
EDIT = any_of("comfyui-workflows:edit")

Parts = Annotated[Services, Depends(services)]
WorkflowId = Annotated[UUID, Path(description="Id of the workflow.")]
AnyWorkflow = Annotated[
    UUID | Literal["any"], Path(description="Id of the workflow, or `any`: what the path names further on has an id.")
]
GoldenId = Annotated[UUID, Path(description="Id of the golden run.")]
Lists = Annotated[ListQuery, Depends(list_query)]


@router.get(
    "/v1/comfyui-workflows/{id}/examples",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[Example],
    summary="List a workflow's examples",
)
async def list_examples(caller: Caller, parts: Parts, id: WorkflowId, query: Lists) -> Response:
    """List the inputs that a workflow keeps to test new versions with, by name."""
    return json_response(await service.list_examples(parts, caller, id, query))


@router.delete(
    "/v1/comfyui-workflows/{id}/examples/{example_id}",
    access=EDIT,
    errors=(errors.WorkflowNotFound, errors.ExampleNotFound),
    shown_as="/v1/comfyui-workflows/any/examples/{example_id}",
    status_code=204,
    summary="Delete an example",
)
async def delete_example(
    caller: Caller,
    parts: Parts,
    id: AnyWorkflow,
    example_id: Annotated[UUID, Path(description="Id of the example.")],
) -> Response:
    """Forget an example. A golden run that has begun still executes it."""
    await service.delete_example(parts, caller, _named(id), example_id)
    return Response(status_code=204)


@router.get(
    "/v1/comfyui-workflows/{id}/golden-runs",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[GoldenRun],
    summary="List a workflow's golden runs",
)
async def list_golden_runs(caller: Caller, parts: Parts, id: WorkflowId, query: Lists) -> Response:
    """List the tests of new versions, newest first."""
    return json_response(await service.list_golden_runs(parts, caller, id, query))


@router.post(
    "/v1/comfyui-workflows/{id}/golden-runs",
    access=EDIT,
    errors=(errors.WorkflowNotFound, errors.WorkflowVersionNotFound, errors.Conflict),
    status_code=201,
    response_model=WholeGoldenRun,
    summary="Test a version that does not serve",
    openapi_extra=openapi_body(NewGoldenRun),
)
async def start_golden_run(
    caller: Caller, parts: Parts, id: WorkflowId, body: Annotated[NewGoldenRun, Depends(json_body(NewGoldenRun))]
) -> Response:
    """Run the examples on a version that does not serve, again or for the first time; it serves if all succeed."""
    return json_response(await service.start(parts, caller, id, body), 201)


@router.get(
    "/v1/comfyui-workflows/{id}/golden-runs/{golden_run_id}",
    access=READ,
    errors=(errors.GoldenRunNotFound,),
    shown_as="/v1/comfyui-workflows/any/golden-runs/{golden_run_id}",
    response_model=WholeGoldenRun,
    summary="Get a golden run",
)
async def get_golden_run(
    caller: Caller,
    parts: Parts,
    id: AnyWorkflow,
    golden_run_id: GoldenId,
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Read a golden run with the run of each of its examples."""
    return json_response(await service.get_golden_run(parts, caller, _named(id), golden_run_id, query))


@router.post(
    "/v1/comfyui-workflows/{id}/golden-runs/{golden_run_id}/cancellation",
    access=EDIT,
    errors=(errors.GoldenRunNotFound,),
    status_code=201,
    response_model=WholeGoldenRun,
    summary="Cancel a golden run",
    responses={200: {"model": WholeGoldenRun, "description": "It had ended already; nothing changed."}},
)
async def cancel_golden_run(caller: Caller, parts: Parts, id: AnyWorkflow, golden_run_id: GoldenId) -> Response:
    """Stop testing a version: its runs are cancelled, and the version that serves goes on."""
    found, was_running = await service.cancel(parts, caller, _named(id), golden_run_id)
    return json_response(found, 201 if was_running else 200)


def _named(workflow: UUID | Literal["any"]) -> UUID | None:
    return workflow if isinstance(workflow, UUID) else None
