"""SQL of the rows of a workflow's interface."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.graph import InputType
from runflow.ids import new_id
from runflow.workflows import interface_rows
from runflow.workflows.interface_rows import InputRow, Merged, OutputRow
from runflow.workflows.tables import workflow_inputs, workflow_outputs

_TABLES: dict[type[InputRow] | type[OutputRow], Table] = {InputRow: workflow_inputs, OutputRow: workflow_outputs}
_NOW = sa.func.clock_timestamp()
_OUTSIDE = ("id", "org_id", "comfyui_workflow_id", "created_at", "updated_at", "deleted_at")


async def shown(
    connection: AsyncConnection, kind: type[InputRow] | type[OutputRow], workflow_ids: Collection[UUID]
) -> Sequence[Row[Any]]:
    """Return the rows of these workflows that callers see."""
    table = _TABLES[kind]
    ids = sa.literal(list(workflow_ids), sa.ARRAY(sa.Uuid))
    statement = sa.select(table).where(table.c.comfyui_workflow_id == sa.any_(ids), table.c.deleted_at.is_(None))
    return (await connection.execute(statement)).all()


async def stored(
    connection: AsyncConnection, kind: type[interface_rows.Row], workflow_id: UUID
) -> list[interface_rows.Row]:
    """Return every row of one workflow, those deleted by hand included, for merging."""
    table = _TABLES[kind]
    found = await connection.execute(sa.select(table).where(table.c.comfyui_workflow_id == workflow_id))
    names = [column.name for column in table.c if column.name not in _OUTSIDE]
    result: list[interface_rows.Row] = []
    for row in found:
        values = {name: row._mapping[name] for name in names}
        values["variable_type_code"] = InputType(values["variable_type_code"])
        result.append(kind(**values, id=row.id, deleted=row.deleted_at is not None))
    return result


async def save(
    connection: AsyncConnection,
    kind: type[interface_rows.Row],
    *,
    org_id: UUID,
    workflow_id: UUID,
    before: Iterable[interface_rows.Row],
    merged: Merged[interface_rows.Row],
) -> None:
    """Make the stored rows those of `merged`: drop, then change what differs from `before`, then insert."""
    table = _TABLES[kind]
    known = {row.id: row for row in before}
    if merged.dropped:
        gone = sa.literal([row.id for row in merged.dropped], sa.ARRAY(sa.Uuid))
        await connection.execute(sa.delete(table).where(table.c.id == sa.any_(gone)))
    changed = [row for row in merged.rows if row.id is not None and row != known.get(row.id)]
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
    fresh = [
        {"id": new_id(), "org_id": org_id, "comfyui_workflow_id": workflow_id, **_values(table, row)}
        for row in merged.rows
        if row.id is None
    ]
    if fresh:
        await connection.execute(sa.insert(table), fresh)


def _values(table: Table, row: InputRow | OutputRow) -> dict[str, Any]:
    values = {column.name: getattr(row, column.name) for column in table.c if column.name not in _OUTSIDE}
    return values | {"variable_type_code": row.variable_type_code.value}
