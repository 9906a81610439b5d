"""API keys over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.accounts.keys import service
from runflow.accounts.keys.schemas import ApiKey, CreateApiKey, NewApiKey
from runflow.accounts.organizations.routes import TAG
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

router = Router(TAG, prefix="/v1/api-keys")

READ = any_of("api-keys:read")

Parts = Annotated[Services, Depends(services)]


@router.get("", access=READ, response_model=ListEnvelope[ApiKey], summary="List API keys")
async def list_keys(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List your organization's API keys, revoked ones included."""
    return json_response(await service.list_keys(parts, caller, query))


@router.post(
    "",
    access=any_of("api-keys:create"),
    errors=(errors.LimitReached,),
    shows_secret=True,
    status_code=201,
    response_model=NewApiKey,
    summary="Create an API key",
    openapi_extra=openapi_body(CreateApiKey),
)
async def create(
    body: Annotated[CreateApiKey, Depends(json_body(CreateApiKey))], caller: Caller, parts: Parts
) -> Response:
    """Create an API key. The answer shows it once.

    It can hold no scope that the creating key lacks, nor end later or send more requests per second than that one.
    """
    return json_response(await service.create_for(parts, caller, body), 201)


@router.get("/{id}", access=READ, errors=(errors.ApiKeyNotFound,), response_model=ApiKey, summary="Get an API key")
async def get(id: UUID, caller: Caller, parts: Parts, query: Annotated[RecordQuery, Depends(record_query)]) -> Response:
    """Read an API key of your organization, revoked or not. The key itself is never shown again."""
    return json_response(await service.get(parts, caller, id, query))


@router.delete(
    "/{id}",
    access=any_of("api-keys:delete"),
    errors=(errors.ApiKeyNotFound,),
    status_code=204,
    summary="Revoke an API key",
)
async def revoke(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Revoke an API key, at once and on every server process. Revoking it again changes nothing."""
    await service.revoke(parts, caller, id)
    return Response(status_code=204)
