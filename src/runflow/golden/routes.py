"""The route that keeps an example (docs/api/workflows.md, "Golden runs")."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.golden import examples
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows.golden.schemas import Example, KeepExample
from runflow.workflows.routes import TAG

router = Router(TAG)

Parts = Annotated[Services, Depends(services)]


@router.post(
    "/v1/comfyui-workflows/{id}/examples",
    access=any_of("comfyui-workflows:edit"),
    errors=(errors.WorkflowNotFound, errors.RunNotFound, errors.LimitReached),
    status_code=201,
    response_model=Example,
    summary="Keep an example",
    responses={200: {"model": Example, "description": "It took the place of the example of that name."}},
    openapi_extra=openapi_body(KeepExample),
)
async def keep_example(
    caller: Caller,
    parts: Parts,
    id: Annotated[UUID, Path(description="Id of the workflow.")],
    body: Annotated[KeepExample, Depends(json_body(KeepExample))],
) -> Response:
    """Keep an input, or that of a run, to test new versions with. Files are taken as in a dispatch."""
    found, is_new = await examples.keep(parts, caller, id, body)
    return json_response(found, 201 if is_new else 200)
