"""Runs over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response

from runflow import errors
from runflow.runs import statuses
from runflow.runs.dispatch import Dispatcher
from runflow.runs.queries import RUN_LIST
from runflow.runs.records import record
from runflow.runs.reruns import rerun
from runflow.runs.schemas import Cancellation, DispatchRequest, RerunRequest, Run
from runflow.runs.service import RunReader
from runflow.runs.tables import RunRow
from runflow.storage.keys import base_url
from runflow.web.auth import Caller, Principal, principal
from runflow.web.context import while_connected
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, check_projection, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.waiting import PLAIN_WAIT, Wait, Waiting, place, plain_wait, preferred

TAG = Tag("Runs", "Dispatch workflows; read, follow, cancel and repeat runs.")
router = Router(TAG)

DISPATCH = any_of("runs:create", "comfyui-workflows:create")
READ = any_of("runs:read", "comfyui-workflows:read")
EXECUTE = any_of("runs:execute")
REFUSED = (
    errors.WorkflowNotFound,
    errors.WorkflowDisabled,
    errors.WorkflowNotServing,
    errors.InsufficientCredit,
    errors.LimitReached,
)
"""What every dispatch may answer: files sent in `input` become assets, which an organization can have too many of."""


async def dispatcher(request: Request) -> Dispatcher:
    """Return the process's dispatcher."""
    found: Dispatcher = request.app.state.dispatcher
    return found


async def reader(request: Request) -> RunReader:
    """Return the process's run reader."""
    found: RunReader = request.app.state.run_reader
    return found


def address(request: Request) -> str:
    """Return the address under which the caller reaches this server."""
    return base_url(request, request.app.state.services.settings)


async def wanted_statuses(
    status_code: Annotated[
        str | None,
        Query(description="Comma list: only runs with one of these statuses. `canceled` is read as `cancelled`."),
    ] = None,
    status: Annotated[str | None, Query(description="The same as `status_code`.")] = None,
) -> frozenset[str] | None:
    """Return the statuses that a list is narrowed to; None for all of them."""
    return statuses.wanted_statuses({"status_code": status_code, "status": status})


Dispatches = Annotated[Dispatcher, Depends(dispatcher)]
Reader = Annotated[RunReader, Depends(reader)]
Lists = Annotated[ListQuery, Depends(list_query)]
Wanted = Annotated[frozenset[str] | None, Depends(wanted_statuses)]
RunId = Annotated[UUID, Path(description="Id of the run.")]
Owner = Annotated[str, Path(description="Slug of the organization.")]
Slug = Annotated[str, Path(description="Slug of the workflow.")]


async def created(request: Request, caller: Principal, dispatcher: Dispatcher, row: RunRow, waiting: float) -> Response:
    """Answer with a run that was just queued, or for a caller who waits as it is when it ends, or later."""
    if waiting:
        return await follow(request, caller, row.id, waiting)
    base = address(request)
    return json_response(record(dispatcher.services, base, row), 201, {"Location": f"{base}/v1/runs/{row.id}"})


async def follow(request: Request, caller: Principal, run_id: UUID, waiting: float) -> Response:
    """Answer the POST that queued a run as soon as the run has ended, or after so many seconds."""
    base, reading = address(request), await reader(request)
    found = await while_connected(request, reading.get(caller, run_id, base, RecordQuery(), waiting))
    return json_response(found, 201, {"Location": f"{base}/v1/runs/{run_id}"})


dispatch_body = json_body(DispatchRequest)


@router.post(
    "/v1/comfyui-workflows/{owner}/{slug}/runs",
    access=DISPATCH,
    errors=REFUSED,
    follow=follow,
    status_code=201,
    response_model=Run,
    summary="Dispatch a run",
    openapi_extra=openapi_body(DispatchRequest),
)
async def dispatch(
    owner: Owner,
    slug: Slug,
    caller: Caller,
    waiting: Waiting,
    body: Annotated[DispatchRequest, Depends(dispatch_body)],
    request: Request,
    dispatcher: Dispatches,
) -> Response:
    """Queue one execution of a workflow and answer at once, or with `wait` as soon as it has ended.

    Otherwise wait with `GET /v1/runs/{id}?wait=60`, or let the callback tell.
    """
    with place(request, caller, waiting):
        row = await dispatcher.dispatch(caller, owner, slug, body, request.state.request_id)
        return await created(request, caller, dispatcher, row, waiting)


@router.hot("POST", "/v1/comfyui-workflows/{owner}/{slug}/runs", query=PLAIN_WAIT)
async def hot_dispatch(request: Request) -> Response:
    """Answer as `dispatch` does."""
    caller, path = await principal(request), request.path_params
    waiting = await preferred(request, plain_wait(request))
    body = await dispatch_body(request, caller)
    return await dispatch(path["owner"], path["slug"], caller, waiting, body, request, await dispatcher(request))


router.add(
    "POST",
    "/v1/models/{owner}/{slug}/runs",
    dispatch,
    access=DISPATCH,
    errors=REFUSED,
    follow=follow,
    status_code=201,
    response_model=Run,
    summary="Dispatch a run, as of a model",
    description="The same as `POST /v1/comfyui-workflows/{owner}/{slug}/runs`, for clients that call models.",
    openapi_extra=openapi_body(DispatchRequest),
)


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}/runs",
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[Run],
    summary="List a workflow's runs",
)
async def list_of_workflow(
    owner: Owner, slug: Slug, caller: Caller, request: Request, query: Lists, wanted: Wanted, reader: Reader
) -> Response:
    """List your organization's runs of one workflow, newest first."""
    return json_response(await reader.list_of_workflow(caller, owner, slug, address(request), query, wanted))


@router.get("/v1/runs", access=READ, response_model=ListEnvelope[Run], summary="List runs")
async def list_runs(caller: Caller, request: Request, query: Lists, wanted: Wanted, reader: Reader) -> Response:
    """List your organization's runs of all workflows, newest first. Only what `fields` names is read."""
    return json_response(await reader.list_all(caller, address(request), query, wanted))


@router.get("/v1/runs/statuses", access=READ, response_model=ListEnvelope[statuses.Status], summary="List run statuses")
async def list_statuses(caller: Caller, request: Request, query: Lists) -> Response:
    """List what `status_code` of runs and batches may be."""
    return json_response(await statuses.list_page(request.app.state.services, caller, query))


@router.get("/v1/runs/{id}", access=READ, errors=(errors.RunNotFound,), response_model=Run, summary="Get a run")
async def get(
    id: RunId,
    caller: Caller,
    request: Request,
    query: Annotated[RecordQuery, Depends(record_query)],
    reader: Reader,
    wait: Wait = 0,
) -> Response:
    """Read a run; output URLs are signed anew on every read."""
    check_projection(query, RUN_LIST.response_fields, RUN_LIST.embeds)
    if not wait:
        return json_response(await reader.get(caller, id, address(request), query, 0))
    with request.app.state.services.limits.waiting(caller.org_id):
        return json_response(await while_connected(request, reader.get(caller, id, address(request), query, wait)))


@router.hot("GET", "/v1/runs/{id:uuid}", query=PLAIN_WAIT)
async def hot_get(request: Request) -> Response:
    """Answer as `get` does, for the whole record."""
    caller, reading = await principal(request), await reader(request)
    return await get(request.path_params["id"], caller, request, RecordQuery(), reading, plain_wait(request) or 0)


async def cancel(
    id: RunId,
    caller: Caller,
    request: Request,
    reader: Reader,
    body: Annotated[Cancellation, Depends(json_body(Cancellation, optional=True))],
) -> Response:
    """Cancel a queued or running run: exactly this run's computation stops. A body is not needed."""
    cancelled = await reader.cancel(caller, id, body.reason)
    return json_response(await reader.get(caller, id, address(request), RecordQuery(), 0), 201 if cancelled else 200)


async def cancel_as_admin(
    run_id: RunId,
    caller: Caller,
    request: Request,
    reader: Reader,
    body: Annotated[Cancellation, Depends(json_body(Cancellation, optional=True))],
) -> Response:
    """The same as `POST /v1/runs/{id}/cancellation`, where other clients look for it."""
    return await cancel(run_id, caller, request, reader, body)


for path, endpoint, summary in (
    ("/v1/runs/{id}/cancellation", cancel, "Cancel a run"),
    ("/v1/admin/runs/{run_id}/cancellation", cancel_as_admin, "Cancel a run, by its other address"),
):
    router.add(
        "POST",
        path,
        endpoint,
        access=EXECUTE,
        errors=(errors.RunNotFound,),
        status_code=201,
        response_model=Run,
        summary=summary,
        responses={200: {"model": Run, "description": "The run had ended already; nothing changed."}},
        openapi_extra=openapi_body(Cancellation, required=False),
    )


@router.post(
    "/v1/runs/{id}/reruns",
    access=EXECUTE,
    errors=(*REFUSED, errors.RunNotFound),
    follow=follow,
    status_code=201,
    response_model=Run,
    summary="Run again",
    openapi_extra=openapi_body(RerunRequest, required=False),
)
async def repeat(
    id: RunId,
    caller: Caller,
    waiting: Waiting,
    request: Request,
    dispatcher: Dispatches,
    body: Annotated[RerunRequest, Depends(json_body(RerunRequest, optional=True))],
) -> Response:
    """Queue a new run of the same input, on the workflow's current version or on the run's own. No body is needed.

    `callback_url`, `client_ref` and `metadata` are taken over unless they are sent; `rerun_of` names the run.
    """
    with place(request, caller, waiting):
        row = await rerun(dispatcher, caller, id, body, request.state.request_id)
        return await created(request, caller, dispatcher, row, waiting)
