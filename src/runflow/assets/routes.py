"""HTTP of assets and their uploads."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from runflow.assets import service, uploads
from runflow.assets.schemas import AssetRecord, Confirmation, UploadCreate, UploadSession
from runflow.services import Services, services
from runflow.storage.addresses import base_url
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import RecordQuery, record_query
from runflow.web.responses import json_response

router = APIRouter(tags=["Assets"])

ServicesDep = Annotated[Services, Depends(services)]


@router.post(
    "/v1/asset-uploads",
    status_code=201,
    response_model=UploadSession,
    summary="Open an upload session",
    openapi_extra=openapi_body(UploadCreate),
)
async def create_upload(
    body: Annotated[UploadCreate, Depends(json_body(UploadCreate))],
    caller: Caller,
    services: ServicesDep,
    request: Request,
) -> Response:
    """Declare a file and get a signed URL to PUT it to, valid for an hour."""
    return json_response(await uploads.create(services, caller, body, base_url(request, services.settings)), 201)


@router.post(
    "/v1/asset-uploads/{id}/confirmations",
    status_code=201,
    response_model=AssetRecord,
    summary="Confirm an upload",
    openapi_extra=openapi_body(Confirmation, required=False),
)
async def confirm_upload(
    id: UUID,
    caller: Caller,
    services: ServicesDep,
    request: Request,
    body: Annotated[Confirmation, Depends(json_body(Confirmation, optional=True))],
) -> Response:
    """Check the uploaded file and make it an asset. May be repeated: the answer is the same asset."""
    base = base_url(request, services.settings)
    return json_response(await uploads.confirm(services, caller, id, body, base), 201)


@router.get("/v1/assets/{id}", response_model=AssetRecord, summary="Get an asset")
async def get_asset(
    id: UUID,
    caller: Caller,
    services: ServicesDep,
    request: Request,
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Return an asset with a freshly signed `url`."""
    return json_response(await service.get(services, caller, id, query, base_url(request, services.settings)))
