"""The route that tells which workers can run a workflow (docs/api/workflows.md, "Which workers can run it")."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows.routes import TAG
from runflow.workflows.runtime import service
from runflow.workflows.runtime.schemas import Runtime

router = Router(TAG)

Parts = Annotated[Services, Depends(services)]
WorkflowId = Annotated[UUID, Path(description="Id of the workflow.")]


@router.get(
    "/v1/comfyui-workflows/{id}/runtime",
    access=any_of("comfyui-workflows:read"),
    errors=(errors.WorkflowNotFound,),
    response_model=Runtime,
    summary="Tell which workers can run a workflow",
)
async def get_runtime(caller: Caller, parts: Parts, id: WorkflowId) -> Response:
    """Compare what the current version needs with what each connected worker has.

    Node classes and models are needed; another commit of ComfyUI or of a node pack is only told, as a note.
    """
    return json_response(await service.runtime(parts, caller, id))
