"""The route that asks for a pre-build (docs/api/workflows.md, "Preparing a machine")."""

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
from runflow.workflows.prebuilds import service
from runflow.workflows.prebuilds.schemas import Prebuild
from runflow.workflows.routes import TAG

router = Router(TAG)

Parts = Annotated[Services, Depends(services)]


@router.post(
    "/v1/comfyui-workflows/{id}/versions/{version}/prebuild",
    access=any_of("comfyui-workflows:create", "comfyui-workflows:edit"),
    errors=(errors.WorkflowNotFound, errors.WorkflowVersionNotFound, errors.LimitReached),
    response_model=Prebuild,
    status_code=202,
    summary="Prepare a machine for a version",
)
async def prebuild(
    caller: Caller,
    parts: Parts,
    id: Annotated[UUID, Path(description="Id of the workflow.")],
    version: Annotated[str, Path(description="Number or id of the version.")],
) -> Response:
    """Have a worker build the version's runtime and fetch its models before a run needs them.

    A worker without runs does it in the background. Asked for again, it begins anew, also after a failure that stays;
    one that a worker is at goes on.
    """
    return json_response(await service.request(parts, caller, id, version), 202)
