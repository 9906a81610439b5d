"""Routes of the list of workers, for the operator (docs/api/metering.md)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workers import service
from runflow.workers.schemas import PatchWorker, Worker

TAG = Tag("Workers", "The machines, and the API that they speak.")
router = Router(TAG, prefix="/v1/workers")

READ = any_of(service.READ_SCOPE)

Parts = Annotated[Services, Depends(services)]


@router.get("", access=READ, response_model=ListEnvelope[Worker], summary="List workers")
async def list_workers(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the workers of the installation, those that are gone included. For keys of the operator's organization."""
    return json_response(await service.list_workers(parts, caller, query))


@router.get("/{id}", access=READ, errors=(errors.WorkerNotFound,), response_model=Worker, summary="Get a worker")
async def get_worker(
    id: UUID, caller: Caller, parts: Parts, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Read one worker, with the runs of your organization that it holds. For keys of the operator's organization."""
    return json_response(await service.get(parts, caller, id, query))


@router.patch(
    "/{id}",
    access=any_of("workers:edit"),
    errors=(errors.WorkerNotFound,),
    response_model=Worker,
    summary="Drain a worker, or end it",
    openapi_extra=openapi_body(PatchWorker),
)
async def patch_worker(
    id: UUID, body: Annotated[PatchWorker, Depends(json_body(PatchWorker))], caller: Caller, parts: Parts
) -> Response:
    """Let a worker finish what it has and get no new runs, or let it work again.

    Draining outlives a restart of the worker. For keys of the operator's organization.
    """
    return json_response(await service.patch(parts, caller, id, body))


@router.delete(
    "/{id}",
    access=any_of("workers:edit"),
    errors=(errors.WorkerNotFound, errors.Conflict),
    status_code=204,
    summary="Remove a worker",
)
async def remove_worker(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Take a worker that is gone off the lists, and free its name for another token.

    409 while it is connected or holds a run. What it did for runs stays with them; when a worker of this name registers
    again, it is back. For keys of the operator's organization.
    """
    await service.remove(parts, caller, id)
    return Response(status_code=204)
