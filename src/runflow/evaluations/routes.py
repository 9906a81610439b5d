"""Evaluations over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from starlette.responses import Response

from runflow import errors
from runflow.evaluations import classes, service, statistics
from runflow.evaluations.schemas import (
    EmbeddedEvaluation,
    Evaluation,
    EvaluationCreate,
    Feedback,
    JobClass,
    StatusRecord,
)
from runflow.evaluations.service import EvaluationReader
from runflow.storage.keys import base_url
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.period import Period, period, time_range
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Evaluations", "Verdicts on the quality of images.")
router = Router(TAG)

READ = any_of("evaluations:read")
EDIT = any_of("evaluations:edit")
WORKFLOW_READ = any_of("comfyui-workflows:read")

Parts = Annotated[Services, Depends(services)]
Lists = Annotated[ListQuery, Depends(list_query)]
FeedbackBody = Annotated[Feedback, Depends(json_body(Feedback))]
EvaluationId = Annotated[UUID, Path(description="Id of the evaluation.")]
RunId = Annotated[UUID, Path(description="Id of the run.")]


async def reader(request: Request) -> EvaluationReader:
    """Return a reader with the process's parts."""
    return EvaluationReader(request.app.state.services, request.app.state.run_reader)


Reader = Annotated[EvaluationReader, Depends(reader)]


def address(request: Request) -> str:
    """Return the address under which the caller reaches this server."""
    return base_url(request, request.app.state.services.settings)


@router.post(
    "/v1/evaluations",
    access=any_of("evaluations:create"),
    errors=(errors.InsufficientCredit, errors.LimitReached),
    status_code=202,
    response_model=Evaluation,
    summary="Submit an image for evaluation",
    openapi_extra=openapi_body(EvaluationCreate),
)
async def submit(
    body: Annotated[EvaluationCreate, Depends(json_body(EvaluationCreate))],
    caller: Caller,
    request: Request,
    parts: Parts,
    reader: Reader,
) -> Response:
    """Queue an image to be judged and answer at once, with the status `pending`.

    Poll `GET /v1/evaluations/{id}`, or wait for the callback. The price is that of the job class at this moment; it
    becomes the cost when there is a verdict.
    """
    made = await service.submit(parts, reader, caller, body, address(request), request.state.request_id)
    return json_response(made, 202)


@router.get("/v1/evaluations", access=READ, response_model=ListEnvelope[EmbeddedEvaluation], summary="List evaluations")
async def list_evaluations(caller: Caller, request: Request, query: Lists, reader: Reader) -> Response:
    """List your organization's evaluations, newest first. `embed` adds `judges`, `action`, `gate_failures`, `run`."""
    return json_response(await reader.list_page(caller, address(request), query))


@router.get(
    "/v1/evaluations/statuses",
    access=READ,
    response_model=ListEnvelope[StatusRecord],
    summary="List evaluation statuses",
)
async def list_statuses(caller: Caller, parts: Parts, query: Lists) -> Response:
    """List what `status_code` of an evaluation may be."""
    return json_response(await classes.list_statuses(parts, caller, query))


@router.get(
    "/v1/evaluations/job-classes", access=READ, response_model=ListEnvelope[JobClass], summary="List job classes"
)
async def list_job_classes(caller: Caller, parts: Parts, query: Lists) -> Response:
    """List the classes of evaluations with their prices."""
    return json_response(await classes.list_job_classes(parts, caller, query))


@router.get(
    "/v1/evaluations/{id}",
    access=READ,
    errors=(errors.EvaluationNotFound,),
    response_model=EmbeddedEvaluation,
    summary="Get an evaluation",
)
async def get(
    id: EvaluationId,
    caller: Caller,
    request: Request,
    query: Annotated[RecordQuery, Depends(record_query)],
    reader: Reader,
) -> Response:
    """Read an evaluation. `embed` adds `judges`, `action`, `gate_failures` and `run`."""
    return json_response(await reader.get(caller, id, address(request), query))


@router.patch(
    "/v1/evaluations/{evaluation_id}/feedback",
    access=EDIT,
    errors=(errors.EvaluationNotFound,),
    response_model=Evaluation,
    summary="Set or clear feedback",
    openapi_extra=openapi_body(Feedback),
)
async def set_feedback(
    evaluation_id: EvaluationId, body: FeedbackBody, caller: Caller, request: Request, reader: Reader
) -> Response:
    """Say whether the image is good in your eyes; `{"is_positive": null}` takes it back. The verdict stays."""
    return json_response(await reader.set_feedback(caller, evaluation_id, body, address(request)))


@router.get(
    "/v1/runs/{run_id}/evaluations",
    access=READ,
    errors=(errors.RunNotFound,),
    response_model=ListEnvelope[EmbeddedEvaluation],
    summary="List a run's evaluations",
)
async def list_of_run(run_id: RunId, caller: Caller, request: Request, query: Lists, reader: Reader) -> Response:
    """List the evaluations of a run's outputs, newest first."""
    return json_response(await reader.list_page(caller, address(request), query, run_id))


@router.patch(
    "/v1/runs/{run_id}/evaluations/{evaluation_id}/feedback",
    access=EDIT,
    errors=(errors.RunNotFound, errors.EvaluationNotFound),
    response_model=Evaluation,
    summary="Set or clear feedback on a run's evaluation",
    openapi_extra=openapi_body(Feedback),
)
async def set_feedback_of_run(
    run_id: RunId,
    evaluation_id: EvaluationId,
    body: FeedbackBody,
    caller: Caller,
    request: Request,
    reader: Reader,
) -> Response:
    """Say whether a run's image is good in your eyes; the run's record shows it, too."""
    return json_response(await reader.set_feedback(caller, evaluation_id, body, address(request), run_id))


@router.get(
    "/v1/comfyui-workflows/{comfyui_workflow_id}/evaluation-stats",
    access=WORKFLOW_READ,
    errors=(errors.WorkflowNotFound,),
    response_model=statistics.EvaluationStats,
    summary="Evaluation statistics of a workflow",
)
async def evaluation_stats(
    comfyui_workflow_id: Annotated[UUID, Path(description="Id of the workflow.")],
    caller: Caller,
    parts: Parts,
    period: Annotated[Period, Depends(period)],
) -> Response:
    """Count your organization's evaluations of this workflow: verdicts, issues, feedback, and a series over time."""
    return json_response(await statistics.evaluation_stats(parts, caller, comfyui_workflow_id, period))


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}/evaluation-issue-categories",
    access=WORKFLOW_READ,
    errors=(errors.WorkflowNotFound,),
    response_model=statistics.IssueCategories,
    summary="Kinds of issues found in a workflow's images",
)
async def issue_categories(
    owner: Annotated[str, Path(description="Slug of the organization.")],
    slug: Annotated[str, Path(description="Slug of the workflow.")],
    caller: Caller,
    parts: Parts,
    period: Annotated[Period, Depends(time_range)],
) -> Response:
    """List the kinds of issues that were found in your organization's runs of this workflow, the commonest first."""
    return json_response(await statistics.issue_categories(parts, caller, owner, slug, period))
