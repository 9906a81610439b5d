"""Routes of statistics."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.statistics import service
from runflow.statistics.schemas import RunPerformanceStats
from runflow.web.auth import Caller
from runflow.web.period import Period, period
from runflow.web.responses import json_response
from runflow.web.route_table import Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Statistics", "How the runs of a workflow did.")
router = Router(TAG)

Parts = Annotated[Services, Depends(services)]


@router.get(
    "/v1/comfyui-workflows/{comfyui_workflow_id}/run-performance-stats",
    access=any_of("comfyui-workflows:read"),
    errors=(errors.WorkflowNotFound,),
    response_model=RunPerformanceStats,
    response_model_by_alias=True,
    summary="How a workflow's runs did",
)
async def run_performance_stats(
    comfyui_workflow_id: UUID, caller: Caller, parts: Parts, covered: Annotated[Period, Depends(period)]
) -> Response:
    """Latency, failures and cost of your organization's runs of one workflow, created in a period of time.

    Steps of the series are hours or days in UTC. At most 731 days and 1,000 steps.
    """
    return json_response(await service.run_performance(parts, caller, comfyui_workflow_id, covered))
