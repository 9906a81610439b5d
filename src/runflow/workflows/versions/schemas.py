"""Shapes of versions on the wire (docs/api/workflows.md, "Versions and rollbacks")."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from runflow.graph import InputType
from runflow.web.responses import Timestamp
from runflow.workflows.golden.schemas import GoldenRun, Options


class WorkflowVersion(BaseModel):
    """An immutable version, without its documents."""

    id: UUID
    comfyui_workflow_id: UUID
    version: str = Field(examples=["3"])
    is_current: bool = Field(description="Runs that are dispatched now execute this one.")
    fingerprint: str = Field(description="Names the runtime that it needs.")
    created_by: UUID | None = Field(description="The API key that made it.")
    created_at: Timestamp
    golden_run: GoldenRun | None = Field(description="Its latest golden run; null: it had none.")


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


Golden = Annotated[
    StrictBool | Options | None,
    Field(
        description="Run the workflow's examples on the new version first; it serves only when all succeed. "
        "Until then, and if not, the version goes on that serves now.",
    ),
]
"""Whether a deployment is tested before it serves."""


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Rollback(BaseModel):
    """Which version to go back to, and whether to test it first."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[
        str,
        BeforeValidator(_number),
        Field(max_length=20),
        WithJsonSchema({"type": "string", "examples": ["3"], "description": "Number of the version to go back to."}),
    ]
    golden: Golden = None
