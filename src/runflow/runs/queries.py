"""SQL of runs, for their callers. The queue's own statements stand in `queue/queries.py`."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.runs.tables import run_attempts, run_events, run_node_runs, run_outputs, runs

_OUTPUTS = (
    select(func.coalesce(func.json_agg(run_outputs.table_valued()), func.json_build_array()))
    .where(run_outputs.c.run_id == runs.c.id)
    .scalar_subquery()
    .label("outputs")
)


def selection() -> Select[Any]:
    """Select run rows with their outputs, for one record or for a list."""
    return select(runs, _OUTPUTS)


async def by_id(connection: AsyncConnection, run_id: UUID) -> Row[Any] | None:
    """Return a run of the transaction's tenant with its outputs."""
    found: Row[Any] | None = (await connection.execute(selection().where(runs.c.id == run_id))).one_or_none()
    return found


async def node_runs(connection: AsyncConnection, run_ids: list[UUID]) -> list[Row[Any]]:
    """Return the node runs of these runs, oldest first."""
    statement = select(run_node_runs).where(run_node_runs.c.run_id.in_(run_ids))
    return list(await connection.execute(statement.order_by(run_node_runs.c.started_at, run_node_runs.c.id)))


async def attempts(connection: AsyncConnection, run_ids: list[UUID]) -> list[Row[Any]]:
    """Return the attempts of these runs, oldest first. Open offers are no attempts yet."""
    statement = select(run_attempts).where(run_attempts.c.run_id.in_(run_ids), run_attempts.c.number.is_not(None))
    return list(await connection.execute(statement.order_by(run_attempts.c.number)))


async def logs(connection: AsyncConnection, run_ids: list[UUID]) -> list[Row[Any]]:
    """Return the log events of these runs in order."""
    statement = select(run_events).where(run_events.c.run_id.in_(run_ids), run_events.c.type_code == "log")
    return list(await connection.execute(statement.order_by(run_events.c.run_id, run_events.c.sequence)))


def of_workflow(workflow_id: UUID) -> Select[Any]:
    """Select the runs of one workflow with their outputs, for a list."""
    return selection().where(runs.c.comfyui_workflow_id == workflow_id)
