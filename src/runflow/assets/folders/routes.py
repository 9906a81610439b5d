"""HTTP of asset folders."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query
from starlette.responses import Response

from runflow import errors
from runflow.assets.folders import service
from runflow.assets.folders.schemas import CreateFolder, Folder, PatchFolder
from runflow.assets.routes import TAG
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

router = Router(TAG, prefix="/v1/asset-folders")

READ = any_of("assets:read")

Parts = Annotated[Services, Depends(services)]
FolderId = Annotated[UUID, Path(description="Id of the folder.")]


@router.get("", access=READ, response_model=ListEnvelope[Folder], summary="List asset folders")
async def list_folders(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the organization's folders. `q=parent_id.isnull:true` gives those at the top."""
    return json_response(await service.list_page(parts, caller, query))


@router.post(
    "",
    access=any_of("assets:create", "assets:edit"),
    errors=(errors.LimitReached,),
    status_code=201,
    response_model=Folder,
    summary="Create an asset folder",
    openapi_extra=openapi_body(CreateFolder),
)
async def create_folder(
    caller: Caller, parts: Parts, body: Annotated[CreateFolder, Depends(json_body(CreateFolder))]
) -> Response:
    """Make a folder. 409 where one of that name is there already."""
    return json_response(await service.create(parts, caller, body), 201)


@router.get(
    "/{id}", access=READ, errors=(errors.AssetFolderNotFound,), response_model=Folder, summary="Get an asset folder"
)
async def get_folder(
    caller: Caller, parts: Parts, id: FolderId, query: Annotated[RecordQuery, Depends(record_query)]
) -> Response:
    """Read a folder."""
    return json_response(await service.get(parts, caller, id, query))


@router.patch(
    "/{id}",
    access=any_of("assets:edit"),
    errors=(errors.AssetFolderNotFound, errors.Conflict),
    response_model=Folder,
    summary="Rename or move an asset folder",
    openapi_extra=openapi_body(PatchFolder),
)
async def change_folder(
    caller: Caller, parts: Parts, id: FolderId, body: Annotated[PatchFolder, Depends(json_body(PatchFolder))]
) -> Response:
    """Rename a folder, or move it with all that is in it. Not into itself: 422."""
    return json_response(await service.change(parts, caller, id, body))


@router.delete(
    "/{id}",
    access=any_of("assets:delete"),
    errors=(errors.AssetFolderNotFound, errors.Conflict),
    status_code=204,
    summary="Delete an asset folder",
)
async def delete_folder(
    caller: Caller,
    parts: Parts,
    id: FolderId,
    recursive: Annotated[bool, Query(description="Delete all assets and folders in it as well.")] = False,
) -> Response:
    """Delete an empty folder, or with `recursive=true` a full one. 409 when it is not empty."""
    await service.delete(parts, caller, id, recursive=recursive)
    return Response(status_code=204)
