"""SQL of runs, for their callers. The queue's own statements stand in `queue/queries.py`."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.runs.tables import run_attempts, run_events, run_node_runs, run_outputs, runs
from runflow.services import Services

_OUTPUTS = (
    select(func.coalesce(func.json_agg(run_outputs.table_valued()), func.json_build_array()))
    .where(run_outputs.c.run_id == runs.c.id)
    .scalar_subquery()
    .label("outputs")
)


def selection() -> Select[Any]:
    """Select run rows with their outputs, for one record or for a list."""
    return select(runs, _OUTPUTS)


_BY_ID = """
    SELECT r.*, (SELECT coalesce(json_agg(o), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id) AS outputs
    FROM runs r WHERE r.id = %(id)s
"""


async def by_id(services: Services, org_id: UUID, run_id: UUID) -> Any | None:
    """Return a run of this organization with its outputs: one round trip, for it is read more often than all else."""
    async with services.db.tenant_pipeline(org_id) as connection:
        found = await connection.later(_BY_ID, {"id": run_id})
    return await found.fetchone()


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
