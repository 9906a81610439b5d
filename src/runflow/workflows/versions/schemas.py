"""Shapes of versions on the wire (docs/api/workflows.md, "Versions and rollbacks")."""

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from runflow.graph import InputType
from runflow.web.responses import Timestamp


class WorkflowVersion(BaseModel):
    """An immutable version, without its documents."""

    id: UUID
    comfyui_workflow_id: UUID
    version: str = Field(examples=["3"])
    is_current: bool = Field(description="Runs that are dispatched now execute this one.")
    fingerprint: str = Field(description="Names the runtime that it needs.")
    created_by: UUID | None = Field(description="The API key that made it.")
    created_at: Timestamp


class FrozenDefinition(BaseModel):
    """An input or output as it was when the version was made."""

    model_config = ConfigDict(extra="allow")

    name: str
    variable_type_code: InputType
    display_name: str
    description: str
    sort_order: int
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str


class FrozenInput(FrozenDefinition):
    """An input as it was when the version was made."""

    is_required: bool
    default_value: str | int | float | bool | None


class FrozenInterface(BaseModel):
    """What runs of the version take and deliver."""

    inputs: list[FrozenInput]
    outputs: list[FrozenDefinition]


class WholeVersion(WorkflowVersion):
    """An immutable version with its documents and its frozen interface. Lists have those only where `fields` asks."""

    workflow_json: dict[str, Any]
    graph: dict[str, Any] | None
    environment: dict[str, Any] | None
    models: dict[str, Any] | list[Any] | None
    custom_nodes: dict[str, Any] | list[Any] | None
    resources: dict[str, Any] | list[Any] | None
    interface: FrozenInterface


NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""How a version's number is written."""


def version_number(value: Any) -> int:
    """Return the number of a version that is sent as text or as an integer. Raises Pydantic's error for others."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not NUMBER.fullmatch(text):
        raise PydanticCustomError("version", 'Send the number of a version, such as "3"')
    return int(text)


NUMBER_SCHEMA: list[dict[str, Any]] = [
    {"type": "string", "pattern": f"^{NUMBER.pattern}$", "examples": ["3"]},
    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
]
"""What a version's number may be, as alternatives of a JSON Schema."""

VersionNumber = Annotated[int, PlainValidator(version_number), WithJsonSchema({"anyOf": NUMBER_SCHEMA})]
"""The number of a version, sent as text or as an integer."""


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Rollback(BaseModel):
    """Which version to go back to."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[
        str,
        BeforeValidator(_number),
        Field(max_length=20),
        WithJsonSchema({"type": "string", "examples": ["3"], "description": "Number of the version to go back to."}),
    ]
