"""Shapes of inputs and outputs on the wire (docs/api/workflows.md, "The interface")."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from runflow.graph import InputType
from runflow.web.responses import Timestamp
from runflow.workflows.fields import Attributes, Code, Name, Text, VariableType

_INT32 = 2**31 - 1

_Key = Annotated[Name, Field(description="The key in a run's `input`, or the `output_id`.", examples=["prompt"])]
_ReadAt = Annotated[
    AwareDatetime | None,
    Field(description="The `updated_at` that was read: the answer is 409 if the row was changed since."),
]


class Definition(BaseModel):
    """What the bodies of inputs and outputs have in common. Only the fields that are sent take effect."""

    model_config = ConfigDict(extra="allow")

    variable_type_code: Annotated[VariableType | None, Field(description="Needed where no Runflow node tells it.")] = (
        None
    )
    display_name: Text | None = Field(None, description="Label for people.")
    description: Text | None = Field(None, description="Helper text for people.")
    validator_code: Code | None = Field(None, description="Kept for your own use.")
    validator_attrs: Annotated[
        Attributes,
        Field(
            description="Limits of an input. `min`, `max`, `step`, `choices`, `min_length` and `max_length` are "
            "enforced at dispatch; these and `pattern` stand in the workflow's own OpenAPI document. Other keys are "
            "kept for your own use."
        ),
    ] = None
    sort_order: Annotated[StrictInt, Field(ge=-_INT32, le=_INT32)] | None = None
    comfyui_node_id: Annotated[Name | None, Field(description="Node of `workflow_json`.", examples=["6"])] = None
    comfyui_field_name: Annotated[Name | None, Field(description="Field of that node.", examples=["text"])] = None

    def stated(self) -> dict[str, Any]:
        """Return the known fields that were sent, of the row itself: a state that was read is none."""
        known = type(self).model_fields.keys() - {"updated_at"}
        return {name: getattr(self, name) for name in self.model_fields_set if name in known}


class _Input(Definition):
    default_behavior_code: Code | None = Field(None, description="Kept for your own use.")
    is_required: StrictBool | None = None
    default_value: Annotated[Any, Field(description="Used when a caller omits an optional input.")] = None


class InputDefinition(_Input):
    """An input to declare, or what to change of the one with this `name`."""

    name: _Key


class OutputDefinition(Definition):
    """An output to declare, or what to change of the one with this `name`."""

    name: _Key


class InputChange(_Input):
    """Changes to an input; what is not sent stays, and so does a field that cannot be null but is sent as null."""

    name: _Key | None = None
    updated_at: _ReadAt = None


class OutputChange(Definition):
    """Changes to an output; what is not sent stays, and so does a field that cannot be null but is sent as null."""

    name: _Key | None = None
    updated_at: _ReadAt = None


class Warning(BaseModel):  # noqa: A001 - the wire's own word
    """Something that works but may surprise later."""

    node_id: str | None = Field(description="The node of the prompt that it is about.")
    message: str
    next_step: str = Field(description="What to do about it.")


class InterfaceRow(BaseModel):
    """What inputs and outputs have in common."""

    id: UUID
    comfyui_workflow_id: UUID
    name: str
    variable_type_code: InputType
    display_name: str
    description: str
    validator_code: str | None
    validator_attrs: dict[str, Any] | None
    sort_order: int
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str = Field(description="`node`: declared by a Runflow node. `manual`: added by a person.")
    created_at: Timestamp
    updated_at: Timestamp


class WorkflowInput(InterfaceRow):
    """An input of a workflow."""

    default_behavior_code: str | None
    is_required: bool
    default_value: Annotated[
        str | int | float | bool | None,
        Field(description="Of an optional input what a run uses when it is left out, as far as the prompt tells."),
    ]


class WorkflowOutput(InterfaceRow):
    """An output of a workflow."""


class WrittenInput(WorkflowInput):
    """The input after a write, and what about the change may surprise later."""

    warnings: list[Warning]


class WrittenOutput(WorkflowOutput):
    """The output after a write, and what about the change may surprise later."""

    warnings: list[Warning]
