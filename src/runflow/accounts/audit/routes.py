"""Audit events over HTTP."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from runflow.accounts.audit import service
from runflow.accounts.audit.schemas import AuditEvent
from runflow.accounts.organizations.routes import TAG
from runflow.web.auth import Caller
from runflow.web.lists import ListEnvelope, ListQuery, list_query
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

router = Router(TAG)


@router.get(
    "/v1/audit-events",
    access=any_of("audit-events:read"),
    response_model=ListEnvelope[AuditEvent],
    summary="List audit events",
)
async def list_events(
    caller: Caller,
    parts: Annotated[Services, Depends(services)],
    query: Annotated[ListQuery, Depends(list_query)],
) -> Response:
    """List who changed what in your organization, when and from where.

    Reads are not recorded, and neither are dispatched runs, batches, uploads and evaluations: their own records say who
    made them, with which request.
    """
    return json_response(await service.list_page(parts, caller, query))
