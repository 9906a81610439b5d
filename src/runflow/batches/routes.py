"""Batches over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from starlette.responses import Response

from runflow import errors
from runflow.batches.queries import BATCH_LIST
from runflow.batches.schemas import Batch, BatchItem, CreateBatch, ListedBatch
from runflow.batches.service import RECORD_FIELDS, BatchReader, create
from runflow.runs.routes import DISPATCH, EXECUTE, READ, REFUSED, Dispatches, Lists, Owner, Slug, address
from runflow.runs.schemas import Cancellation
from runflow.web.auth import Caller, Principal
from runflow.web.context import while_connected
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, RecordQuery, check_projection, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag
from runflow.web.router import Router
from runflow.web.waiting import Wait, Waiting, place

TAG = Tag("Batches", "Many runs of one workflow, dispatched together.")
router = Router(TAG)

BatchId = Annotated[UUID, Path(description="Id of the batch.")]
Records = Annotated[RecordQuery, Depends(record_query)]


async def reader(request: Request) -> BatchReader:
    """Return the process's reader of batches."""
    state = request.app.state
    return BatchReader(state.services, state.run_reader)


Reader = Annotated[BatchReader, Depends(reader)]


async def dispatch(
    owner: Owner,
    slug: Slug,
    caller: Caller,
    waiting: Waiting,
    body: Annotated[CreateBatch, Depends(json_body(CreateBatch))],
    request: Request,
    dispatcher: Dispatches,
) -> Response:
    """Queue 1 to 100 runs of a workflow together: all of them, or none when one value of one item is wrong.

    Each item is a run like any other. The batch has ended when they all have; its callback tells then what became of
    each, and so does the answer to a caller who waits.
    """
    base = address(request)
    with place(request, caller, waiting):
        made = await create(dispatcher, caller, owner, slug, body, request_id=request.state.request_id, base_url=base)
        if waiting:
            return await follow(request, caller, made["id"], waiting)
    return json_response(made, 201, {"Location": f"{base}/v1/batches/{made['id']}"})


async def follow(request: Request, caller: Principal, batch_id: UUID, waiting: float) -> Response:
    """Answer the POST that made a batch as soon as every item has ended, or after so many seconds."""
    base, reading = address(request), await reader(request)
    await while_connected(request, reading.ended(caller, batch_id, waiting))
    found = await reading.get(caller, batch_id, base, RecordQuery())
    return json_response(found, 201, {"Location": f"{base}/v1/batches/{batch_id}"})


for path, summary in (
    ("/v1/comfyui-workflows/{owner}/{slug}/batches", "Dispatch a batch"),
    ("/v1/models/{owner}/{slug}/batches", "Dispatch a batch, as of a model"),
):
    router.add(
        "POST",
        path,
        dispatch,
        access=DISPATCH,
        errors=REFUSED,
        follow=follow,
        status_code=201,
        response_model=Batch,
        summary=summary,
        openapi_extra=openapi_body(CreateBatch),
    )


@router.get("/v1/batches", access=READ, response_model=ListEnvelope[ListedBatch], summary="List batches")
async def list_batches(caller: Caller, request: Request, query: Lists, reader: Reader) -> Response:
    """List your organization's batches, newest first. `items` and `input` are there where `fields` names them."""
    return json_response(await reader.list_all(caller, address(request), query))


@router.get(
    "/v1/batches/{id}", access=READ, errors=(errors.BatchNotFound,), response_model=Batch, summary="Get a batch"
)
async def get(
    id: BatchId, caller: Caller, request: Request, query: Records, reader: Reader, wait: Wait = 0
) -> Response:
    """Read a batch with its items in short; once it has ended, `output` holds what became of each."""
    if wait:
        check_projection(query, RECORD_FIELDS, BATCH_LIST.embeds)
        with request.app.state.services.limits.waiting(caller.org_id):
            await while_connected(request, reader.ended(caller, id, wait))
    return json_response(await reader.get(caller, id, address(request), query))


@router.get(
    "/v1/batches/{batch_id}/items",
    access=READ,
    errors=(errors.BatchNotFound,),
    response_model=ListEnvelope[BatchItem],
    summary="List items",
)
async def list_items(batch_id: BatchId, caller: Caller, request: Request, query: Lists, reader: Reader) -> Response:
    """List the items of a batch as they are now, in their order. `embed=run` adds the whole run."""
    return json_response(await reader.items(caller, batch_id, address(request), query))


@router.get(
    "/v1/batches/{batch_id}/items/{id}",
    access=READ,
    errors=(errors.BatchItemNotFound,),
    response_model=BatchItem,
    summary="Get an item",
)
async def get_item(
    batch_id: BatchId, id: UUID, caller: Caller, request: Request, query: Records, reader: Reader
) -> Response:
    """Read one item of a batch as it is now."""
    return json_response(await reader.item(caller, batch_id, id, address(request), query))


@router.post(
    "/v1/batches/{id}/cancellation",
    access=EXECUTE,
    errors=(errors.BatchNotFound,),
    status_code=201,
    response_model=Batch,
    summary="Cancel a batch",
    responses={200: {"model": Batch, "description": "Every item had ended already; nothing changed."}},
    openapi_extra=openapi_body(Cancellation, required=False),
)
async def cancel(
    id: BatchId,
    caller: Caller,
    request: Request,
    reader: Reader,
    body: Annotated[Cancellation, Depends(json_body(Cancellation, optional=True))],
) -> Response:
    """Cancel every item that has not ended, at once. A body is not needed."""
    cancelled = await reader.cancel(caller, id, body.reason)
    return json_response(await reader.get(caller, id, address(request), RecordQuery()), 201 if cancelled else 200)
