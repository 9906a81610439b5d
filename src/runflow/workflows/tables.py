"""Tables of workflows, their immutable versions, and the rows of their interface."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Column, Integer, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column

workflows = Table(
    "workflows",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("is_public", Boolean, nullable=False),
    Column("status_code", Text, nullable=False),
    Column("category_code", Text),
    Column("gpu_mode", Text, nullable=False),
    Column("gpu_explicit_models", ARRAY(Text), nullable=False),
    json_column("worker_labels"),
    Column("timeout_seconds", Integer),
    Column("max_running", Integer),
    Column("auto_evaluate", Boolean, nullable=False),
    Column("evaluation_task_type", Text),
    uuid_column("version_id", nullable=False),
    Column("version", Text, nullable=False),
    Column("is_serving", Boolean, nullable=False),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("deleted_at"),
    uuid_column("deleted_by"),
)


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A row of `workflows`."""

    id: UUID
    org_id: UUID
    slug: str
    name: str
    description: str | None
    is_public: bool
    status_code: str
    category_code: str | None
    gpu_mode: str
    gpu_explicit_models: list[str]
    worker_labels: dict[str, str] | None
    timeout_seconds: int | None
    max_running: int | None
    auto_evaluate: bool
    evaluation_task_type: str | None
    version_id: UUID
    version: str
    is_serving: bool
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    deleted_by: UUID | None


workflow_versions = Table(
    "workflow_versions",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("workflow_id", nullable=False),
    Column("number", Integer, nullable=False),
    json_column("workflow_json", nullable=False),
    json_column("graph"),
    json_column("environment"),
    json_column("models"),
    json_column("custom_nodes"),
    json_column("resources"),
    json_column("interface", nullable=False),
    Column("fingerprint", Text, nullable=False),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
)

workflow_inputs = Table(
    "workflow_inputs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("comfyui_workflow_id", nullable=False),
    Column("name", Text, nullable=False),
    Column("variable_type_code", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("default_behavior_code", Text),
    Column("validator_code", Text),
    json_column("validator_attrs"),
    Column("is_required", Boolean, nullable=False),
    json_column("default_value"),
    json_column("effective_default"),
    Column("sort_order", Integer, nullable=False),
    Column("comfyui_node_id", Text, nullable=False),
    Column("comfyui_field_name", Text, nullable=False),
    Column("origin", Text, nullable=False),
    json_column("node_widgets"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("deleted_at"),
)

workflow_outputs = Table(
    "workflow_outputs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("comfyui_workflow_id", nullable=False),
    Column("name", Text, nullable=False),
    Column("variable_type_code", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("validator_code", Text),
    json_column("validator_attrs"),
    Column("sort_order", Integer, nullable=False),
    Column("comfyui_node_id", Text, nullable=False),
    Column("comfyui_field_name", Text, nullable=False),
    Column("origin", Text, nullable=False),
    json_column("node_widgets"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("deleted_at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionRow:
    """What a row of `workflow_inputs` has in common with one of `workflow_outputs`.

    `row_size` is about how many bytes it takes in an answer, where a list asks for that.
    """

    id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    name: str
    variable_type_code: str
    display_name: str
    description: str
    validator_code: str | None
    validator_attrs: dict[str, Any] | None
    sort_order: int
    comfyui_node_id: str
    comfyui_field_name: str
    origin: str
    node_widgets: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    row_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowInputRow(DefinitionRow):
    """A row of `workflow_inputs`."""

    default_behavior_code: str | None
    is_required: bool
    default_value: Any
    effective_default: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOutputRow(DefinitionRow):
    """A row of `workflow_outputs`."""
