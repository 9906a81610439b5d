"""Metering over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from runflow.metering import balance as balances
from runflow.metering import statistics
from runflow.metering import usage as usages
from runflow.metering.schemas import Balance, CreditBalances, PatchBalance, RunPerformanceStats, Usage
from runflow.services import Services, services
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListQuery, list_query
from runflow.web.period import Period, period, time_range
from runflow.web.responses import json_response

router = APIRouter()

Parts = Annotated[Services, Depends(services)]


@router.get(
    "/v1/comfyui-workflows/{comfyui_workflow_id}/run-performance-stats",
    response_model=RunPerformanceStats,
    response_model_by_alias=True,
    tags=["Statistics"],
    summary="How a workflow's runs did",
)
async def run_performance_stats(
    comfyui_workflow_id: UUID, caller: Caller, parts: Parts, covered: Annotated[Period, Depends(period)]
) -> Response:
    """Latency, failures and cost of your organization's runs of one workflow, created in a period of time.

    Steps of the series are hours or days in UTC. At most 731 days and 1,000 steps.
    """
    return json_response(await statistics.run_performance(parts, caller, comfyui_workflow_id, covered))


@router.get("/v1/usage", response_model=Usage, tags=["Billing"], summary="What was used and what it cost")
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
    groups = usages.read_groups(group_by)
    return json_response(await usages.usage(parts, caller, query, covered, groups))


@router.get("/v1/billing/balance", response_model=Balance, tags=["Billing"], summary="Get the balance")
async def balance(caller: Caller, parts: Parts) -> Response:
    """Read what your organization may still spend. The amounts are null where the operator set no budget."""
    return json_response(await balances.get(parts, caller))


@router.patch(
    "/v1/billing/balance",
    response_model=Balance,
    tags=["Billing"],
    summary="Set the low-balance threshold",
    openapi_extra=openapi_body(PatchBalance),
)
async def patch_balance(
    body: Annotated[PatchBalance, Depends(json_body(PatchBalance))], caller: Caller, parts: Parts
) -> Response:
    """Set the threshold below which the balance counts as low, or null for none."""
    return json_response(await balances.patch(parts, caller, body))


@router.get("/v1/credit-balances", response_model=CreditBalances, tags=["Billing"], summary="List balances")
async def credit_balances(caller: Caller, parts: Parts) -> Response:
    """Read the balance in the list form that some clients expect."""
    return json_response(await balances.credit_balances(parts, caller))
