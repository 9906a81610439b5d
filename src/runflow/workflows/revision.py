"""The next version of a workflow: its rows as they become, and the immutable copy. The workflow is locked meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.workflows import interface_queries, queries
from runflow.workflows.interface import Settled
from runflow.workflows.interface_rows import InputRow, OutputRow


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Every row of a workflow, those deleted by hand included."""

    inputs: tuple[InputRow, ...]
    outputs: tuple[OutputRow, ...]


async def stored_rows(connection: AsyncConnection, workflow_id: UUID) -> StoredRows:
    """Read the rows of a workflow."""
    return StoredRows(
        tuple(await interface_queries.stored(connection, InputRow, workflow_id)),
        tuple(await interface_queries.stored(connection, OutputRow, workflow_id)),
    )


async def save_rows(
    connection: AsyncConnection, caller: Principal, workflow_id: UUID, before: StoredRows, settled: Settled
) -> bool:
    """Store the rows as they are settled; tell whether anything about them changed."""
    where = {"org_id": caller.org_id, "workflow_id": workflow_id}
    await interface_queries.save(connection, InputRow, **where, before=before.inputs, merged=settled.inputs)
    await interface_queries.save(connection, OutputRow, **where, before=before.outputs, merged=settled.outputs)
    return settled.inputs.rows != before.inputs or settled.outputs.rows != before.outputs


async def add_version(
    connection: AsyncConnection,
    caller: Principal,
    current: Row[Any],
    *,
    documents: Mapping[str, str | None],
    settled: Settled | None = None,
    fingerprint: str | None = None,
    source: UUID | None = None,
) -> dict[str, Any]:
    """Store the next version of the locked workflow `current` and return what it changes in the workflow's row.

    What is not given is copied from the version `source`, by default the current one.
    """
    version_id, number = new_id(), await queries.last_number(connection, current.id) + 1
    values: dict[str, Any] = {"id": version_id, "number": number, "created_by": caller.key_id}
    if settled is not None:
        values["interface"] = settled.frozen()
    if fingerprint is not None:
        values["fingerprint"] = fingerprint
    await queries.insert_next_version(connection, source or current.version_id, values, documents)
    return {"version_id": version_id, "version": str(number)}
