"""SQL of the rows of a workflow's interface: the two kinds of definitions, and what their lists can be filtered by."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import Row, Table

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.graph import InputType
from runflow.ids import new_id
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.interface import rows as interface_rows
from runflow.workflows.interface.rows import MANUAL, NODE, EitherRow, InputRow, Merged, OutputRow, StoredRows
from runflow.workflows.interface.schemas import WorkflowInput, WorkflowOutput
from runflow.workflows.tables import workflow_inputs, workflow_outputs, workflows

_TABLES: dict[type[InputRow] | type[OutputRow], Table] = {InputRow: workflow_inputs, OutputRow: workflow_outputs}


def listed(kind: type[InputRow] | type[OutputRow]) -> Table:
    """Return the table behind a list of this kind."""
    return _TABLES[kind]


@dataclass(frozen=True, slots=True)
class Kind(Generic[EitherRow]):
    """Inputs or outputs: all that is different between the two."""

    noun: str
    row: type[EitherRow]
    rows_of: Callable[[StoredRows], tuple[EitherRow, ...]]
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


_NOW = sa.func.clock_timestamp()
_BESIDE = 1024
"""About what a row takes in memory and in an answer beside its own texts, in bytes."""
_OUTSIDE = ("id", "org_id", "comfyui_workflow_id", "created_at", "updated_at", "deleted_at")


async def shown(
    connection: Transaction, kind: type[InputRow] | type[OutputRow], workflow_ids: Collection[UUID]
) -> Sequence[Row[Any]]:
    """Return the rows of these workflows that callers see."""
    table = _TABLES[kind]
    ids = sa.literal(list(workflow_ids), sa.ARRAY(sa.Uuid))
    statement = sa.select(table).where(table.c.comfyui_workflow_id == sa.any_(ids), table.c.deleted_at.is_(None))
    return (await connection.execute(statement)).all()


def _size(table: Table) -> sa.ColumnElement[int]:
    return sa.func.octet_length(sa.cast(table.table_valued(), sa.Text)) + _BESIDE


def size_of(row: Row[Any]) -> int:
    """Return about how many bytes a row of `of_workflow` or `of_all` takes in an answer."""
    return int(row.row_size)


def with_interface_size(
    statement: sa.Select[Any], kinds: Collection[type[InputRow] | type[OutputRow]]
) -> sa.Select[Any]:
    """Add `interface_size` to a SELECT of workflows: about how many bytes their rows of these kinds take together."""
    size: sa.ColumnElement[int] = sa.literal(0)
    for table in (_TABLES[kind] for kind in kinds):
        of_kind = sa.select(sa.func.coalesce(sa.func.sum(_size(table)), 0)).where(
            table.c.comfyui_workflow_id == workflows.c.id, table.c.deleted_at.is_(None)
        )
        size = size + of_kind.correlate(workflows).scalar_subquery()
    return statement.add_columns(size.label("interface_size"))


def of_workflow(kind: type[InputRow] | type[OutputRow], org_id: UUID, workflow_id: UUID) -> sa.Select[Any]:
    """Return the SELECT of the rows of one workflow, deleted or not, that callers see."""
    table = _TABLES[kind]
    # The tenant's policy says the same of org_id; said here too, an index on it serves the order of a page.
    return sa.select(table, _size(table).label("row_size")).where(
        table.c.org_id == org_id, table.c.comfyui_workflow_id == workflow_id, table.c.deleted_at.is_(None)
    )


def of_all(kind: type[InputRow] | type[OutputRow], org_id: UUID) -> sa.Select[Any]:
    """Return the SELECT of the rows of an organization's live workflows that callers see."""
    table = _TABLES[kind]
    lives = sa.exists().where(workflows.c.id == table.c.comfyui_workflow_id, workflows.c.deleted_at.is_(None))
    rows = sa.select(table, _size(table).label("row_size"))
    return rows.where(table.c.org_id == org_id, table.c.deleted_at.is_(None), lives)


def only(statement: sa.Select[Any], row_id: UUID) -> sa.Select[Any]:
    """Return the SELECT of the row of this id among those of `of_workflow` or `of_all`."""
    table = statement.get_final_froms()[0]
    return statement.where(table.c.id == row_id)


async def one(connection: Transaction, statement: sa.Select[Any], row_id: UUID) -> Row[Any] | None:
    """Return the row of this id among those of `of_workflow` or `of_all`."""
    found: Row[Any] | None = (await connection.execute(only(statement, row_id))).one_or_none()
    return found


async def stored(
    connection: Transaction, kind: type[interface_rows.EitherRow], workflow_id: UUID
) -> list[interface_rows.EitherRow]:
    """Return every row of one workflow, those deleted by hand included, for merging."""
    table = _TABLES[kind]
    found = await connection.execute(sa.select(table).where(table.c.comfyui_workflow_id == workflow_id))
    names = [column.name for column in table.c if column.name not in _OUTSIDE]
    result: list[interface_rows.EitherRow] = []
    for row in found:
        values = {name: row._mapping[name] for name in names}
        values["variable_type_code"] = InputType(values["variable_type_code"])
        result.append(kind(**values, id=row.id, deleted=row.deleted_at is not None))
    return result


async def save(
    connection: Transaction,
    kind: type[interface_rows.EitherRow],
    *,
    org_id: UUID,
    workflow_id: UUID,
    before: Iterable[interface_rows.EitherRow],
    merged: Merged[interface_rows.EitherRow],
) -> None:
    """Make the stored rows those of `merged`: drop, then change what differs from `before`, then insert the others."""
    table = _TABLES[kind]
    known = {row.id: row for row in before}
    if merged.dropped:
        gone = sa.literal([row.id for row in merged.dropped], sa.ARRAY(sa.Uuid))
        await connection.execute(sa.delete(table).where(table.c.id == sa.any_(gone)))
    changed = [row for row in merged.rows if row.id in known and row != known[row.id]]
    if changed:
        names = [column.name for column in table.c if column.name not in _OUTSIDE]
        statement = (
            sa.update(table)
            .where(table.c.id == sa.bindparam("row_id"))
            .values(
                {
                    **{name: sa.bindparam(f"new_{name}") for name in names},
                    "updated_at": _NOW,
                    "deleted_at": sa.case(
                        (sa.bindparam("is_deleted", type_=sa.Boolean), sa.func.coalesce(table.c.deleted_at, _NOW)),
                        else_=None,
                    ),
                }
            )
        )
        parameters = [
            {"row_id": row.id, "is_deleted": row.deleted}
            | {f"new_{name}": value for name, value in _values(table, row).items()}
            for row in changed
        ]
        await connection.execute(statement, parameters)
    own = {"org_id": org_id, "comfyui_workflow_id": workflow_id}
    now = datetime.now(UTC)
    fresh = [
        {**own, **_values(table, row), "id": row.id or new_id(), "deleted_at": now if row.deleted else None}
        for row in merged.rows
        if row.id not in known
    ]
    if fresh:
        await connection.execute(sa.insert(table), fresh)


def _values(table: Table, row: InputRow | OutputRow) -> dict[str, Any]:
    values = {column.name: getattr(row, column.name) for column in table.c if column.name not in _OUTSIDE}
    return values | {"variable_type_code": row.variable_type_code.value}
