"""Routes of sources, for the operator (docs/api/sources.md)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.sources import service
from runflow.sources.schemas import Source
from runflow.sources.tables import SourceState
from runflow.web.auth import Caller
from runflow.web.lists import ListEnvelope, ListQuery, list_query
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Sources", "Which code of node packs and ComfyUI may be built.")
router = Router(TAG, prefix="/v1/sources")

APPROVE = any_of(service.APPROVE_SCOPE)

Parts = Annotated[Services, Depends(services)]


@router.get("", access=any_of("sources:read"), response_model=ListEnvelope[Source], summary="List sources")
async def list_sources(caller: Caller, parts: Parts, query: Annotated[ListQuery, Depends(list_query)]) -> Response:
    """List the sources that wait for approval (`q=state_code:waiting`), and those that were approved or revoked.

    What waits and is needed by no workflow any more is left out. For keys of the operator's organization.
    """
    return json_response(await service.list_page(parts, caller, query))


@router.post(
    "/{id}/approve",
    access=APPROVE,
    operator_only=True,
    errors=(errors.SourceNotFound,),
    response_model=Source,
    summary="Approve a source",
)
async def approve_source(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Let workers build this commit of this origin; no other commit, and this one from nowhere else.

    For keys of the operator's organization.
    """
    return json_response(await service.decide(parts, caller, id, SourceState.APPROVED))


@router.post(
    "/{id}/revoke",
    access=APPROVE,
    operator_only=True,
    errors=(errors.SourceNotFound,),
    response_model=Source,
    summary="Revoke a source's approval",
)
async def revoke_source(id: UUID, caller: Caller, parts: Parts) -> Response:
    """Let nothing be built of it from now on, also where it was waiting.

    For keys of the operator's organization.
    """
    return json_response(await service.decide(parts, caller, id, SourceState.REVOKED))
