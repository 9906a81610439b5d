"""What tells machines how to run workflows: a workflow's own OpenAPI document, and the index for language models."""

from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.responses import Response

from runflow import errors
from runflow.runs.openapi import service
from runflow.runs.openapi.document import document
from runflow.runs.openapi.llms import index
from runflow.storage.keys import base_url
from runflow.web.auth import Caller
from runflow.web.responses import json_response
from runflow.web.route_table import Access, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows.routes import TAG

router = Router(TAG)

Parts = Annotated[Services, Depends(services)]


@router.get(
    "/v1/comfyui-workflows/{owner}/{slug}/openapi.json",
    access=any_of("comfyui-workflows:read"),
    errors=(errors.WorkflowNotFound,),
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


@router.get("/llms.txt", access=Access.PUBLIC, in_document=False)
async def llms(request: Request) -> Response:
    """Serve the index that tells a language model how to use this API (llmstxt.org)."""
    reference: dict[str, Any] = request.app.state.reference()
    return Response(index(reference), media_type="text/plain; charset=utf-8")
