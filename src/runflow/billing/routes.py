"""Routes of usage and balances."""

from typing import Annotated

from fastapi import Depends, Query
from starlette.responses import Response

from runflow import errors
from runflow.billing import service
from runflow.billing.schemas import Balance, CreditBalances, PatchBalance, Usage
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListQuery, list_query
from runflow.web.period import Period, time_range
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Billing", "Usage, costs and budgets.")
router = Router(TAG)

READ = any_of("billing:read", "credit_balance:read")

Parts = Annotated[Services, Depends(services)]


@router.get("/v1/usage", access=READ, response_model=Usage, summary="What was used and what it cost")
async def usage(
    caller: Caller,
    parts: Parts,
    query: Annotated[ListQuery, Depends(list_query)],
    covered: Annotated[Period, Depends(time_range)],
    group_by: Annotated[
        str | None,
        Query(
            description="Comma list of `day`, `workflow`, `api_key`, `gpu`; `day` when absent.",
            examples=["day,workflow"],
        ),
    ] = None,
) -> Response:
    """Add up the attempts of your organization that ended in a period of time, in groups of your choice."""
    groups = service.read_groups(group_by)
    return json_response(await service.usage(parts, caller, query, covered, groups))


@router.get("/v1/billing/balance", access=READ, response_model=Balance, summary="Get the balance")
async def balance(caller: Caller, parts: Parts) -> Response:
    """Read what your organization may still spend. The amounts are null where the operator set no budget."""
    return json_response(await service.get(parts, caller))


@router.patch(
    "/v1/billing/balance",
    access=any_of("billing:edit"),
    errors=(errors.Conflict,),
    response_model=Balance,
    summary="Set the low-balance threshold",
    openapi_extra=openapi_body(PatchBalance),
)
async def patch_balance(
    body: Annotated[PatchBalance, Depends(json_body(PatchBalance))], caller: Caller, parts: Parts
) -> Response:
    """Set the threshold below which the balance counts as low, or null for none."""
    return json_response(await service.patch(parts, caller, body))


@router.get("/v1/credit-balances", access=READ, response_model=CreditBalances, summary="List balances")
async def credit_balances(caller: Caller, parts: Parts) -> Response:
    """Read the balance in the list form that some clients expect."""
    return json_response(await service.credit_balances(parts, caller))
