"""Routes of inputs and outputs (docs/api/workflows.md, "Inputs and outputs, one by one")."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import any_of
from runflow.web.router import Router
from runflow.web.services import Services, services
from runflow.workflows.interface import service
from runflow.workflows.interface.queries import INPUTS, OUTPUTS
from runflow.workflows.interface.schemas import (
    InputChange,
    InputDefinition,
    OutputChange,
    OutputDefinition,
    WorkflowInput,
    WorkflowOutput,
    WrittenInput,
    WrittenOutput,
)
from runflow.workflows.routes import TAG

router = Router(TAG)

READ = any_of("comfyui-workflows:read")
DEFINE = any_of("comfyui-workflows:create", "comfyui-workflows:edit")
EDIT = any_of("comfyui-workflows:edit")
REMOVE = any_of("comfyui-workflows:delete", "comfyui-workflows:edit")

Parts = Annotated[Services, Depends(services)]
WorkflowId = Annotated[UUID, Path(description="Id of the workflow.")]
AnyWorkflow = Annotated[
    UUID | Literal["any"], Path(description="Id of the workflow, or `any` for all live workflows of the organization.")
]
InputId = Annotated[UUID, Path(description="Id of the input.")]
OutputId = Annotated[UUID, Path(description="Id of the output.")]
Listing = Annotated[ListQuery, Depends(list_query)]
Reading = Annotated[RecordQuery, Depends(record_query)]

_INPUTS = "/v1/comfyui-workflows/{comfyui_workflow_id}/inputs"
_OUTPUTS = "/v1/comfyui-workflows/{comfyui_workflow_id}/outputs"
_INPUT_SHOWN = "/v1/comfyui-workflows/any/inputs/{id}"
_OUTPUT_SHOWN = "/v1/comfyui-workflows/any/outputs/{id}"
"""Beside `{owner}/{slug}/runs`, the routes of one row would be ambiguous in the OpenAPI document: there, it goes by its
own id alone."""


def _one(workflow: UUID | str) -> UUID | None:
    return workflow if isinstance(workflow, UUID) else None


@router.get(
    _INPUTS,
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[WorkflowInput],
    summary="List inputs",
)
async def list_inputs(caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, query: Listing) -> Response:
    """List the inputs of a workflow: of your own, or of a public one of another organization."""
    return json_response(await service.list_page(parts, caller, INPUTS, _one(comfyui_workflow_id), query))


@router.post(
    _INPUTS,
    access=DEFINE,
    errors=(errors.WorkflowNotFound,),
    status_code=201,
    response_model=WrittenInput,
    summary="Add an input",
    openapi_extra=openapi_body(InputDefinition),
)
async def create_input(
    caller: Caller,
    parts: Parts,
    comfyui_workflow_id: WorkflowId,
    body: Annotated[InputDefinition, Depends(json_body(InputDefinition))],
) -> Response:
    """Add an input for any field of any node; `variable_type_code` and `comfyui_node_id` say which. Makes a version.

    The name of an input that a Runflow node declares, and that was deleted by hand, brings that one back.
    """
    return json_response(await service.create(parts, caller, INPUTS, comfyui_workflow_id, body), 201)


@router.get(
    _INPUTS + "/{id}",
    access=READ,
    errors=(errors.WorkflowNotFound, errors.WorkflowInputNotFound),
    response_model=WorkflowInput,
    shown_as=_INPUT_SHOWN,
    summary="Get an input",
)
async def get_input(
    caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, id: InputId, query: Reading
) -> Response:
    """Read one input."""
    return json_response(await service.get(parts, caller, INPUTS, _one(comfyui_workflow_id), id, query))


@router.patch(
    _INPUTS + "/{id}",
    access=EDIT,
    errors=(errors.WorkflowNotFound, errors.WorkflowInputNotFound, errors.Conflict),
    response_model=WrittenInput,
    shown_as=_INPUT_SHOWN,
    summary="Change an input",
    openapi_extra=openapi_body(InputChange),
)
async def patch_input(
    caller: Caller,
    parts: Parts,
    comfyui_workflow_id: AnyWorkflow,
    id: InputId,
    body: Annotated[InputChange, Depends(json_body(InputChange))],
) -> Response:
    """Change an input: label, description, requirement, default, order, target. Makes a version.

    What you change survives later deploys until the node's own widget changes. The name of an input that a Runflow node
    declares is the node's `input_id` and is changed there.
    """
    return json_response(await service.patch(parts, caller, INPUTS, _one(comfyui_workflow_id), id, body))


@router.delete(
    _INPUTS + "/{id}",
    access=REMOVE,
    errors=(errors.WorkflowNotFound, errors.WorkflowInputNotFound),
    status_code=204,
    shown_as=_INPUT_SHOWN,
    summary="Delete an input",
)
async def delete_input(caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, id: InputId) -> Response:
    """Delete an input; makes a version. A deploy does not bring it back until its node has another `input_id`."""
    await service.delete(parts, caller, INPUTS, _one(comfyui_workflow_id), id)
    return Response(status_code=204)


@router.get(
    _OUTPUTS,
    access=READ,
    errors=(errors.WorkflowNotFound,),
    response_model=ListEnvelope[WorkflowOutput],
    summary="List outputs",
)
async def list_outputs(caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, query: Listing) -> Response:
    """List the outputs of a workflow: of your own, or of a public one of another organization."""
    return json_response(await service.list_page(parts, caller, OUTPUTS, _one(comfyui_workflow_id), query))


@router.post(
    _OUTPUTS,
    access=DEFINE,
    errors=(errors.WorkflowNotFound,),
    status_code=201,
    response_model=WrittenOutput,
    summary="Add an output",
    openapi_extra=openapi_body(OutputDefinition),
)
async def create_output(
    caller: Caller,
    parts: Parts,
    comfyui_workflow_id: WorkflowId,
    body: Annotated[OutputDefinition, Depends(json_body(OutputDefinition))],
) -> Response:
    """Add an output: the files that any node saves. Makes a version.

    The name of an output that a Runflow node declares, and that was deleted by hand, brings that one back.
    """
    return json_response(await service.create(parts, caller, OUTPUTS, comfyui_workflow_id, body), 201)


@router.get(
    _OUTPUTS + "/{id}",
    access=READ,
    errors=(errors.WorkflowNotFound, errors.WorkflowOutputNotFound),
    response_model=WorkflowOutput,
    shown_as=_OUTPUT_SHOWN,
    summary="Get an output",
)
async def get_output(
    caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, id: OutputId, query: Reading
) -> Response:
    """Read one output."""
    return json_response(await service.get(parts, caller, OUTPUTS, _one(comfyui_workflow_id), id, query))


@router.patch(
    _OUTPUTS + "/{id}",
    access=EDIT,
    errors=(errors.WorkflowNotFound, errors.WorkflowOutputNotFound, errors.Conflict),
    response_model=WrittenOutput,
    shown_as=_OUTPUT_SHOWN,
    summary="Change an output",
    openapi_extra=openapi_body(OutputChange),
)
async def patch_output(
    caller: Caller,
    parts: Parts,
    comfyui_workflow_id: AnyWorkflow,
    id: OutputId,
    body: Annotated[OutputChange, Depends(json_body(OutputChange))],
) -> Response:
    """Change an output: label, description, order, target. Makes a version."""
    return json_response(await service.patch(parts, caller, OUTPUTS, _one(comfyui_workflow_id), id, body))


@router.delete(
    _OUTPUTS + "/{id}",
    access=REMOVE,
    errors=(errors.WorkflowNotFound, errors.WorkflowOutputNotFound),
    status_code=204,
    shown_as=_OUTPUT_SHOWN,
    summary="Delete an output",
)
async def delete_output(caller: Caller, parts: Parts, comfyui_workflow_id: AnyWorkflow, id: OutputId) -> Response:
    """Delete an output; makes a version. A deploy does not bring it back until its node has another `output_id`."""
    await service.delete(parts, caller, OUTPUTS, _one(comfyui_workflow_id), id)
    return Response(status_code=204)
