"""The GPU catalogue over HTTP."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Access, Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workers.gpus import service
from runflow.workers.gpus.schemas import Gpu, PatchGpu

TAG = Tag("GPUs", "GPU classes and their prices.")
router = Router(TAG, prefix="/v1/gpus")

Parts = Annotated[Services, Depends(services)]


@router.get("", access=Access.ANY_KEY, response_model=ListEnvelope[Gpu], summary="List GPU classes")
async def list_gpus(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the GPU classes of this installation with memory, price and connected workers, cheapest class first."""
    return json_response(await service.list_gpus(parts, query))


@router.get(
    "/{code}", access=Access.ANY_KEY, errors=(errors.GpuNotFound,), response_model=Gpu, summary="Get a GPU class"
)
async def get(
    code: str, caller: Caller, parts: Parts, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Read one GPU class by its code."""
    return json_response(await service.get(parts, code, query))


@router.patch(
    "/{code}",
    access=any_of("gpus:edit"),
    errors=(errors.GpuNotFound,),
    response_model=Gpu,
    summary="Change a GPU class",
    openapi_extra=openapi_body(PatchGpu),
)
async def patch(
    code: str, body: Annotated[PatchGpu, Depends(json_body(PatchGpu))], caller: Caller, parts: Parts
) -> Response:
    """Change the name or the price of a GPU class. Only keys of the operator's organization may.

    A new price counts for attempts that end from now on; what has been metered keeps the price it had.
    """
    return json_response(await service.patch(parts, caller, code, body))
