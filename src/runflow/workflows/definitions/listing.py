"""The two kinds of definitions, inputs and outputs, and what their lists can be filtered and sorted by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from pydantic import BaseModel

from runflow import errors
from runflow.graph import InputType
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.definitions.schemas import WorkflowInput, WorkflowOutput
from runflow.workflows.interface_queries import listed
from runflow.workflows.interface_rows import MANUAL, NODE, InputRow, OutputRow, Row
from runflow.workflows.revision import StoredRows


@dataclass(frozen=True, slots=True)
class Kind(Generic[Row]):
    """Inputs or outputs: all that is different between the two."""

    noun: str
    row: type[Row]
    rows_of: Callable[[StoredRows], tuple[Row, ...]]
    record: type[BaseModel]
    not_found: type[errors.NotFound]
    spec: ListSpec


def _spec(row: type[InputRow] | type[OutputRow], record: type[BaseModel]) -> ListSpec:
    columns = listed(row).c
    fields = [
        ListField("id", columns.id, FieldKind.UUID),
        ListField("comfyui_workflow_id", columns.comfyui_workflow_id, FieldKind.UUID),
        ListField("name", columns.name, FieldKind.STRING),
        ListField("variable_type_code", columns.variable_type_code, FieldKind.ENUM, choices=tuple(InputType)),
        ListField("display_name", columns.display_name, FieldKind.STRING, sortable=False),
        ListField("description", columns.description, FieldKind.STRING, sortable=False),
        ListField("validator_code", columns.validator_code, FieldKind.STRING, nullable=True),
        ListField("sort_order", columns.sort_order, FieldKind.INT),
        ListField("comfyui_node_id", columns.comfyui_node_id, FieldKind.STRING),
        ListField("comfyui_field_name", columns.comfyui_field_name, FieldKind.STRING),
        ListField("origin", columns.origin, FieldKind.ENUM, choices=(NODE, MANUAL)),
        ListField("created_at", columns.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", columns.updated_at, FieldKind.TIMESTAMP),
    ]
    if row is InputRow:
        fields += [
            ListField("is_required", columns.is_required, FieldKind.BOOL),
            ListField("default_behavior_code", columns.default_behavior_code, FieldKind.STRING, nullable=True),
        ]
    return ListSpec(from_=listed(row), fields=tuple(fields), response_fields=frozenset(record.model_fields))


INPUTS = Kind(
    noun="input",
    row=InputRow,
    rows_of=lambda rows: rows.inputs,
    record=WorkflowInput,
    not_found=errors.WorkflowInputNotFound,
    spec=_spec(InputRow, WorkflowInput),
)
OUTPUTS = Kind(
    noun="output",
    row=OutputRow,
    rows_of=lambda rows: rows.outputs,
    record=WorkflowOutput,
    not_found=errors.WorkflowOutputNotFound,
    spec=_spec(OutputRow, WorkflowOutput),
)
