"""The Worker API (docs/worker-api.md), and the list of workers for the operator (docs/api/metering.md)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from runflow.runs.queue import completion, leases
from runflow.services import Services, services
from runflow.web.auth import Caller, WorkerToken, worker
from runflow.web.disconnect import while_connected
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.workers import roster
from runflow.workers.answers import CompletionAnswer, HeartbeatAnswer, LeaseAnswer, Registered, UploadsAnswer
from runflow.workers.roster_schemas import PatchWorker, Worker
from runflow.workers.schemas import Completion, Heartbeat, LeaseRequest, Registration, Uploads
from runflow.workers.service import WorkerDesk, require_protocol

router = APIRouter(prefix="/v1/worker", tags=["Workers"], dependencies=[Depends(worker)])
roster_router = APIRouter(prefix="/v1/workers", tags=["Workers"])


def reached_at(request: Request) -> str:
    """Return the address under which this worker reaches the server: its signed URLs lead there."""
    return f"{request.url.scheme}://{request.url.netloc}"


Parts = Annotated[Services, Depends(services)]


async def desk(request: Request) -> WorkerDesk:
    """Return the process's worker desk."""
    found: WorkerDesk = request.app.state.worker_desk
    return found


Desk = Annotated[WorkerDesk, Depends(desk)]


@router.post(
    "/registrations",
    response_model=Registered,
    status_code=201,
    summary="Register a worker",
    openapi_extra=openapi_body(Registration),
)
async def register(
    body: Annotated[Registration, Depends(json_body(Registration, caller=worker))], token: WorkerToken, desk: Desk
) -> Response:
    """Say what this worker is and whether it can work.

    A name belongs to the token that registered it first: with another one 409, until that token is revoked.
    """
    return json_response(await desk.register(body, token), 201)


@router.post("/leases", response_model=LeaseAnswer, summary="Wait for work", openapi_extra=openapi_body(LeaseRequest))
async def lease(
    body: Annotated[LeaseRequest, Depends(json_body(LeaseRequest, caller=worker))], request: Request, desk: Desk
) -> Response:
    """Long poll for the next run."""
    return json_response(await while_connected(request, desk.lease(body, reached_at(request))))


@router.post(
    "/leases/{id}/heartbeats",
    response_model=HeartbeatAnswer,
    summary="Renew a lease",
    openapi_extra=openapi_body(Heartbeat),
)
async def heartbeat(
    id: UUID, body: Annotated[Heartbeat, Depends(json_body(Heartbeat, caller=worker))], parts: Parts
) -> Response:
    """Renew a lease, report events, hear of cancellation."""
    require_protocol(body)
    return json_response(await leases.heartbeat(parts, id, body))


@router.post(
    "/leases/{id}/uploads",
    response_model=UploadsAnswer,
    summary="Get upload URLs for outputs",
    openapi_extra=openapi_body(Uploads),
)
async def uploads(
    id: UUID, body: Annotated[Uploads, Depends(json_body(Uploads, caller=worker))], request: Request, desk: Desk
) -> Response:
    """Sign upload URLs for the outputs of a lease."""
    return json_response(await desk.uploads(id, body, reached_at(request)))


@router.post(
    "/leases/{id}/completions",
    response_model=CompletionAnswer,
    summary="End an attempt",
    openapi_extra=openapi_body(Completion),
)
async def complete(
    id: UUID, body: Annotated[Completion, Depends(json_body(Completion, caller=worker))], parts: Parts
) -> Response:
    """Report how an attempt ended."""
    require_protocol(body)
    return json_response(await completion.complete(parts, id, body))


@roster_router.get("", response_model=ListEnvelope[Worker], summary="List workers")
async def list_workers(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the workers of the installation, those that are gone included. For keys of the operator's organization."""
    return json_response(await roster.list_workers(parts, caller, query))


@roster_router.get("/{id}", response_model=Worker, summary="Get a worker")
async def get_worker(
    id: UUID, caller: Caller, parts: Parts, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Read one worker, with the runs of your organization that it holds. For keys of the operator's organization."""
    return json_response(await roster.get(parts, caller, id, query))


@roster_router.patch(
    "/{id}", response_model=Worker, summary="Drain a worker, or end it", openapi_extra=openapi_body(PatchWorker)
)
async def patch_worker(
    id: UUID, body: Annotated[PatchWorker, Depends(json_body(PatchWorker))], caller: Caller, parts: Parts
) -> Response:
    """Let a worker finish what it has and get no new runs, or let it work again.

    Draining outlives a restart of the worker. For keys of the operator's organization.
    """
    return json_response(await roster.patch(parts, caller, id, body))
