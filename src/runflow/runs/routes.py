"""Runs over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from runflow.runs.dispatch import Dispatcher
from runflow.runs.listing import RUN_LIST
from runflow.runs.record import record
from runflow.runs.schemas import DispatchRequest, Run
from runflow.runs.service import RunReader
from runflow.storage.addresses import base_url
from runflow.web.auth import Caller
from runflow.web.disconnect import while_connected
from runflow.web.json_body import json_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, check_projection, list_query, record_query
from runflow.web.responses import json_response

router = APIRouter(tags=["Runs"])

MAX_WAIT_SECONDS = 30


async def dispatcher(request: Request) -> Dispatcher:
    """Return the process's dispatcher."""
    found: Dispatcher = request.app.state.dispatcher
    return found


async def reader(request: Request) -> RunReader:
    """Return the process's run reader."""
    found: RunReader = request.app.state.run_reader
    return found


Reader = Annotated[RunReader, Depends(reader)]


@router.post("/v1/comfyui-workflows/{owner}/{slug}/runs", status_code=201, response_model=Run, summary="Dispatch a run")
async def dispatch(
    owner: str,
    slug: str,
    body: Annotated[DispatchRequest, Depends(json_body(DispatchRequest))],
    caller: Caller,
    request: Request,
    dispatcher: Annotated[Dispatcher, Depends(dispatcher)],
) -> Response:
    """Queue one execution of a workflow and answer at once. Poll `GET /v1/runs/{id}`, or wait for the callback."""
    row = await dispatcher.dispatch(caller, owner, slug, body, request.state.request_id)
    services = dispatcher.services
    return json_response(record(services, base_url(request, services.settings), row), 201)


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}/runs", response_model=ListEnvelope[Run], summary="List a workflow's runs"
)
async def list_of_workflow(
    owner: str,
    slug: str,
    caller: Caller,
    request: Request,
    query: Annotated[ListQuery, Depends(list_query)],
    reader: Reader,
) -> Response:
    """List your organization's runs of one workflow, newest first."""
    return json_response(
        await reader.list_of_workflow(
            caller, owner, slug, base_url(request, request.app.state.services.settings), query
        )
    )


@router.get("/v1/runs/{id}", response_model=Run, summary="Get a run")
async def get(
    id: UUID,
    caller: Caller,
    request: Request,
    query: Annotated[RecordQuery, Depends(record_query)],
    reader: Reader,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_WAIT_SECONDS, description="Answer as soon as the run has ended, or after so many seconds."),
    ] = 0,
) -> Response:
    """Read a run; output URLs are signed anew on every read."""
    check_projection(query, RUN_LIST.response_fields, RUN_LIST.embeds)
    address = base_url(request, request.app.state.services.settings)
    reading = reader.get(caller, id, address, query, wait)
    return json_response(await (while_connected(request, reading) if wait else reading))


@router.post(
    "/v1/runs/{id}/cancellation",
    status_code=201,
    response_model=Run,
    summary="Cancel a run",
    responses={200: {"model": Run, "description": "The run had ended already; nothing changed."}},
)
async def cancel(id: UUID, caller: Caller, request: Request, reader: Reader) -> Response:
    """Cancel a queued or running run: exactly this run's computation stops."""
    cancelled = await reader.cancel(caller, id)
    address = base_url(request, request.app.state.services.settings)
    return json_response(await reader.get(caller, id, address, RecordQuery(), 0), 201 if cancelled else 200)
