"""SQL of the rows of a workflow's interface: the two kinds of definitions, and what their lists can be filtered by."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.graph import InputType
from runflow.ids import new_id
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.interface import rows as interface_rows
from runflow.workflows.interface.rows import MANUAL, NODE, EitherRow, InputRow, Merged, OutputRow, StoredRows
from runflow.workflows.interface.schemas import WorkflowInput, WorkflowOutput
from runflow.workflows.tables import (
    DefinitionRow,
    WorkflowInputRow,
    WorkflowOutputRow,
    workflow_inputs,
    workflow_outputs,
    workflows,
)

_TABLES: dict[type[InputRow] | type[OutputRow], Table] = {InputRow: workflow_inputs, OutputRow: workflow_outputs}
_STORED: dict[type[InputRow] | type[OutputRow], type[DefinitionRow]] = {
    InputRow: WorkflowInputRow,
    OutputRow: WorkflowOutputRow,
}


def listed(kind: type[InputRow] | type[OutputRow]) -> Table:
    """Return the table behind a list of this kind."""
    return _TABLES[kind]


def stored_as(kind: type[InputRow] | type[OutputRow]) -> type[DefinitionRow]:
    """Return the class of the rows of that table."""
    return _STORED[kind]


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


_BESIDE = 1024
"""About what a row takes in memory and in an answer beside its own texts, in bytes."""
_OUTSIDE = ("id", "org_id", "comfyui_workflow_id", "created_at", "updated_at", "deleted_at")


async def shown(
    transaction: Transaction, kind: type[InputRow] | type[OutputRow], workflow_ids: Collection[UUID]
) -> list[DefinitionRow]:
    """Return the rows of these workflows that callers see."""
    table = _TABLES[kind]
    ids = sa.literal(list(workflow_ids), sa.ARRAY(sa.Uuid))
    statement = sa.select(table).where(table.c.comfyui_workflow_id == sa.any_(ids), table.c.deleted_at.is_(None))
    return await transaction.rows(statement, row=_STORED[kind])


def _size(table: Table) -> sa.ColumnElement[int]:
    return sa.func.octet_length(sa.cast(table.table_valued(), sa.Text)) + _BESIDE


def size_of(row: DefinitionRow) -> int:
    """Return about how many bytes a row of `of_workflow` or `of_all` takes in an answer."""
    return row.row_size


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


async def one(
    transaction: Transaction, kind: type[InputRow] | type[OutputRow], statement: sa.Select[Any], row_id: UUID
) -> DefinitionRow | None:
    """Return the row of this id among those of `of_workflow` or `of_all`."""
    return await transaction.first(only(statement, row_id), row=_STORED[kind])


@dataclass(frozen=True, slots=True)
class _Owner:
    comfyui_workflow_id: UUID


async def workflow_of(transaction: Transaction, kind: type[InputRow] | type[OutputRow], row_id: UUID) -> UUID | None:
    """Return the workflow of a row, one that was deleted by hand included."""
    table = _TABLES[kind]
    statement = sa.select(table.c.comfyui_workflow_id).where(table.c.id == row_id)
    found = await transaction.first(statement, row=_Owner)
    return None if found is None else found.comfyui_workflow_id


async def stored(
    transaction: Transaction, kind: type[interface_rows.EitherRow], workflow_id: UUID
) -> list[interface_rows.EitherRow]:
    """Return every row of one workflow, those deleted by hand included, for merging."""
    table = _TABLES[kind]
    statement = sa.select(table).where(table.c.comfyui_workflow_id == workflow_id)
    result: list[interface_rows.EitherRow] = []
    for row in await transaction.rows(statement, row=_STORED[kind]):
        values = {name: getattr(row, name) for name in _inside(table)}
        values["variable_type_code"] = InputType(values["variable_type_code"])
        result.append(kind(**values, id=row.id, deleted=row.deleted_at is not None))
    return result


async def save(
    transaction: Transaction,
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
        await transaction.run(sa.delete(table).where(table.c.id == sa.any_(gone)))
    for row in merged.rows:
        # One by one, in this order: a name may go from one row to the next.
        if row.id in known and row != known[row.id]:
            await transaction.run(_update(table), _values(table, row))
    fresh = [_values(table, row) | {"id": row.id or new_id()} for row in merged.rows if row.id not in known]
    if fresh:
        columns: dict[str, Any] = {name: [values[name] for values in fresh] for name in _types(table)}
        await transaction.run(_insert(table), columns | {"org": org_id, "workflow": workflow_id})


def _inside(table: Table) -> list[str]:
    """Return the columns that a row of `rows.py` has by the same names."""
    return [column.name for column in table.c if column.name not in _OUTSIDE]


def _values(table: Table, row: InputRow | OutputRow) -> dict[str, Any]:
    """Return the values of `_types`; JSON as text."""
    values = {name: getattr(row, name) for name in _inside(table)}
    for name, value in values.items():
        if isinstance(table.c[name].type, sa.JSON) and value is not None:
            values[name] = orjson.dumps(value).decode()
    return values | {"variable_type_code": row.variable_type_code.value, "id": row.id, "deleted": row.deleted}


@lru_cache
def _types(table: Table) -> dict[str, str]:
    """Return what PostgreSQL is told of a row, and the type of each value."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    columns = {name: table.c[name].type.compile(dialect) for name in _inside(table)}
    return {"id": "uuid", "deleted": "boolean", **columns}


@lru_cache
def _update(table: Table) -> str:
    types = _types(table)
    changes = ", ".join(f"{name} = CAST(%({name})s AS {types[name]})" for name in _inside(table))
    return f"""
        UPDATE {table.name} SET {changes}, updated_at = clock_timestamp(),
            deleted_at = CASE WHEN %(deleted)s THEN coalesce(deleted_at, clock_timestamp()) END
        WHERE id = %(id)s
    """  # noqa: S608 - names of our own


@lru_cache
def _insert(table: Table) -> str:
    types, names = _types(table), ", ".join(_inside(table))
    arrays = ", ".join(f"CAST(%({name})s AS {kind}[])" for name, kind in types.items())
    return f"""
        INSERT INTO {table.name} (org_id, comfyui_workflow_id, id, deleted_at, {names})
        SELECT %(org)s, %(workflow)s, id, CASE WHEN deleted THEN clock_timestamp() END, {names}
        FROM unnest({arrays}) AS r({", ".join(types)})
    """  # noqa: S608 - names of our own
