"""HTTP of uploaded models. `/v1/models/{owner}/{slug}/runs`, beside it, runs a workflow (`runs/routes.py`)."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from runflow import errors
from runflow.models import service
from runflow.models.schemas import ModelLookupAnswer, ModelLookups, ModelRecord, ModelUpload, ModelUploadCreate
from runflow.models.uploads import ModelUploads
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Models", "Model files that workers fetch from this server.")
router = Router(TAG)

READ = any_of("comfyui-workflows:read")
DEFINE = any_of("comfyui-workflows:create", "comfyui-workflows:edit")

ServicesDep = Annotated[Services, Depends(services)]
UploadId = Annotated[UUID, Path(description="Id of the upload session.")]
ModelId = Annotated[UUID, Path(description="Id of the model.")]
Force = Annotated[bool, Query(description="Delete it even if workflows use it.")]
_CHUNK: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


async def uploads(request: Request) -> ModelUploads:
    """Return the process's uploads."""
    found: ModelUploads = request.app.state.model_uploads
    return found


UploadsDep = Annotated[ModelUploads, Depends(uploads)]


@router.post(
    "/v1/model-lookups",
    access=READ,
    response_model=ModelLookupAnswer,
    summary="Look up models by content",
    openapi_extra=openapi_body(ModelLookups),
)
async def look_up(
    body: Annotated[ModelLookups, Depends(json_body(ModelLookups))], caller: Caller, services: ServicesDep
) -> Response:
    """Say which of these contents the organization has uploaded, and whether this server takes the others."""
    return json_response(await service.look_up(services, caller, body))


@router.post(
    "/v1/model-uploads",
    access=DEFINE,
    errors=(errors.ModelUploadsDisabled, errors.LimitReached),
    status_code=201,
    response_model=ModelUpload,
    summary="Begin or resume the upload of a model",
    openapi_extra=openapi_body(ModelUploadCreate),
    responses={200: {"model": ModelRecord, "description": "The model is there already: nothing to send."}},
)
async def create_upload(
    body: Annotated[ModelUploadCreate, Depends(json_body(ModelUploadCreate))], caller: Caller, uploads: UploadsDep
) -> Response:
    """Open a session for this content, or find the one that is open; send the chunk at its `offset` next.

    403 `MODEL_UPLOADS_DISABLED` where the operator has not allowed it (`RUNFLOW_ACCEPT_MODELS`).
    """
    answer, is_there = await uploads.create(caller, body)
    return json_response(answer, 200 if is_there else 201)


@router.get(
    "/v1/model-uploads/{id}",
    access=DEFINE,
    errors=(errors.ModelUploadsDisabled, errors.ModelUploadNotFound),
    response_model=ModelUpload,
    summary="Get an upload session",
)
async def get_upload(id: UploadId, caller: Caller, uploads: UploadsDep) -> Response:
    """Return how much the server has: where to go on after a broken connection."""
    return json_response(await uploads.get(caller, id))


@router.put(
    "/v1/model-uploads/{id}/chunks",
    access=DEFINE,
    errors=(errors.ModelUploadsDisabled, errors.ModelUploadNotFound, errors.Conflict),
    streams_body=True,
    response_model=ModelUpload,
    summary="Send a chunk of a model",
    openapi_extra=_CHUNK,
)
async def send_chunk(
    id: UploadId,
    caller: Caller,
    uploads: UploadsDep,
    request: Request,
    content_range: Annotated[
        str | None, Header(description="Which bytes these are.", examples=["bytes 0-16777215/50000000"])
    ] = None,
) -> Response:
    """Store a chunk. It may be sent again; one that breaks off leaves nothing.

    409 for a chunk behind a gap: the header `Upload-Offset` says where to go on.
    """
    return json_response(await uploads.receive(caller, id, content_range, _body(request)))


@router.post(
    "/v1/model-uploads/{id}/confirmations",
    access=DEFINE,
    errors=(errors.ModelUploadsDisabled, errors.ModelUploadNotFound),
    status_code=201,
    response_model=ModelRecord,
    summary="Confirm the upload of a model",
)
async def confirm_upload(id: UploadId, caller: Caller, uploads: UploadsDep) -> Response:
    """Check the SHA-256 of the whole and make it a model; takes as long as copying it. May be repeated.

    422 for other content than declared: then nothing stays. 409 while bytes are missing (`Upload-Offset`), and while
    another request does the same (`Retry-After`).
    """
    return json_response(await uploads.confirm(caller, id), 201)


@router.get("/v1/models", access=READ, response_model=ListEnvelope[ModelRecord], summary="List models")
async def list_models(
    caller: Caller, services: ServicesDep, query: Annotated[ListQuery, Depends(list_query)]
) -> Response:
    """List the models that the organization has uploaded. `embed` adds `used_by`, and `workers` for the operator."""
    return json_response(await service.list_page(services, caller, query))


@router.get(
    "/v1/models/{id}",
    access=READ,
    errors=(errors.ModelNotFound,),
    response_model=ModelRecord,
    summary="Get a model",
)
async def get_model(
    id: ModelId, caller: Caller, services: ServicesDep, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Return the record of an uploaded model. `embed` adds `used_by`, and `workers` for the operator."""
    return json_response(await service.get(services, caller, id, query))


@router.delete(
    "/v1/models/{id}",
    access=any_of("comfyui-workflows:delete"),
    errors=(errors.ModelNotFound, errors.Conflict),
    status_code=204,
    summary="Delete a model",
)
async def delete_model(id: ModelId, caller: Caller, services: ServicesDep, force: Force = False) -> Response:
    """Delete a model with its bytes. Runs that need it wait, unless a worker has the file of its own.

    409 while the current version of a workflow uses it, unless `force=true`.
    """
    await service.delete(services, caller, id, force=force)
    return Response(status_code=204)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise errors.BadRequest("The connection ended before the whole chunk was there. Send it again.") from None
