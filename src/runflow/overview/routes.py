"""The operator's overview over HTTP (docs/api/metering.md, "Overview")."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from runflow.overview import service
from runflow.overview.schemas import Overview
from runflow.web.auth import Caller
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workers.routes import TAG

router = Router(TAG)


@router.get(
    "/v1/overview",
    access=any_of("workers:read"),
    response_model=Overview,
    summary="The installation in numbers",
)
async def overview(caller: Caller, parts: Annotated[Services, Depends(services)]) -> Response:
    """Count what waits, what is worked on and by whom, over all organizations. For the operator's organization.

    It names organizations and the addresses of workflows whose runs wait, and nothing that anybody sent or made.
    """
    return json_response(await service.overview(parts, caller))
