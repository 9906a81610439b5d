"""The route of a workflow's own OpenAPI document."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from runflow.runs.openapi import service
from runflow.runs.openapi.document import document
from runflow.storage.keys import base_url
from runflow.web.auth import Caller
from runflow.web.responses import json_response
from runflow.web.services import Services, services

router = APIRouter(tags=["ComfyUI workflows"])

Parts = Annotated[Services, Depends(services)]


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}/openapi.json",
    response_model=dict[str, Any],
    summary="Get a workflow's OpenAPI document",
)
async def describe_workflow(
    caller: Caller,
    parts: Parts,
    request: Request,
    owner: Annotated[str, Path(description="Slug of the organization.")],
    slug: Annotated[str, Path(description="Slug of the workflow.")],
) -> Response:
    """Describe one workflow to a machine: an OpenAPI 3.1 document with its real inputs, their types and defaults.

    It holds the route that dispatches the workflow and the one that reads its runs, for generated clients and forms.
    """
    described = await service.described(parts, caller, owner, slug)
    return json_response(document(described, base_url(request, parts.settings)))
