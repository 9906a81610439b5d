"""HTTP of assets and their uploads."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from starlette.responses import Response

from runflow import errors
from runflow.assets import service, uploads
from runflow.assets.schemas import (
    AssetLookupAnswer,
    AssetLookups,
    AssetRecord,
    AssetTypes,
    Confirmation,
    PatchAsset,
    UploadCreate,
    UploadSession,
)
from runflow.storage.keys import base_url
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Assets", "Files for inputs and resources, in folders.")
router = Router(TAG)

UPLOAD = any_of("assets:create", "comfyui-workflows:create", "comfyui-workflows:edit")
READ = any_of("assets:read")

ServicesDep = Annotated[Services, Depends(services)]
AssetId = Annotated[UUID, Path(description="Id of the asset.")]


@router.post(
    "/v1/asset-lookups",
    access=UPLOAD,
    response_model=AssetLookupAnswer,
    summary="Look up files by content",
    openapi_extra=openapi_body(AssetLookups),
)
async def look_up(
    body: Annotated[AssetLookups, Depends(json_body(AssetLookups))],
    caller: Caller,
    services: ServicesDep,
    request: Request,
) -> Response:
    """Say which of these contents the organization has uploaded: what is there need not be sent again."""
    return json_response(await service.look_up(services, caller, body, base_url(request, services.settings)))


@router.post(
    "/v1/asset-uploads",
    access=UPLOAD,
    errors=(errors.LimitReached,),
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
    access=UPLOAD,
    errors=(errors.AssetNotFound,),
    status_code=201,
    response_model=AssetRecord,
    summary="Confirm an upload",
    openapi_extra=openapi_body(Confirmation, required=False),
)
async def confirm_upload(
    id: AssetId,
    caller: Caller,
    services: ServicesDep,
    request: Request,
    body: Annotated[Confirmation, Depends(json_body(Confirmation, optional=True))],
) -> Response:
    """Check the uploaded file and make it an asset. May be repeated: the answer is the same asset."""
    base = base_url(request, services.settings)
    return json_response(await uploads.confirm(services, caller, id, body, base), 201)


@router.get("/v1/assets", access=READ, response_model=ListEnvelope[AssetRecord], summary="List assets")
async def list_assets(
    caller: Caller, services: ServicesDep, request: Request, query: Annotated[ListQuery, Depends(list_query)]
) -> Response:
    """List the organization's assets, each with a freshly signed `url`.

    `q=folder_id:ID` gives those in a folder, `q=folder_id.isnull:true` those at the top.
    """
    return json_response(await service.list_page(services, caller, query, base_url(request, services.settings)))


@router.get("/v1/assets/types", access=READ, response_model=AssetTypes, summary="List file types")
async def list_types(caller: Caller, services: ServicesDep) -> Response:
    """List the file types that workflows usually take. Other types can be uploaded as well."""
    return json_response(service.types(services))


@router.get(
    "/v1/assets/{id}", access=READ, errors=(errors.AssetNotFound,), response_model=AssetRecord, summary="Get an asset"
)
async def get_asset(
    id: AssetId,
    caller: Caller,
    services: ServicesDep,
    request: Request,
    query: Annotated[RecordQuery, Depends(record_query)],
) -> Response:
    """Return an asset with a freshly signed `url`."""
    return json_response(await service.get(services, caller, id, query, base_url(request, services.settings)))


@router.patch(
    "/v1/assets/{id}",
    access=any_of("assets:edit"),
    errors=(errors.AssetNotFound,),
    response_model=AssetRecord,
    summary="Rename or move an asset",
    openapi_extra=openapi_body(PatchAsset),
)
async def change_asset(
    id: AssetId,
    caller: Caller,
    services: ServicesDep,
    request: Request,
    body: Annotated[PatchAsset, Depends(json_body(PatchAsset))],
) -> Response:
    """Change an asset's name or folder. References to it stay valid."""
    return json_response(await service.change(services, caller, id, body, base_url(request, services.settings)))


@router.delete(
    "/v1/assets/{id}",
    access=any_of("assets:delete"),
    errors=(errors.AssetNotFound,),
    status_code=204,
    summary="Delete an asset",
)
async def delete_asset(id: AssetId, caller: Caller, services: ServicesDep) -> Response:
    """Delete an asset; again is no error. Runs that are queued already still get its file."""
    await service.delete(services, caller, id)
    return Response(status_code=204)
