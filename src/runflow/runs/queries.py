"""SQL of runs, for their callers. The queue's own statements stand in `queue/queries.py`."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Label,
    Row,
    Select,
    Text,
    Uuid,
    column,
    func,
    literal_column,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.evaluations import run_summary_queries as evaluation
from runflow.runs.record import HEAVY
from runflow.runs.tables import run_outputs, runs
from runflow.services import Services
from runflow.workflows.tables import workflows

_OUTPUTS = (
    select(func.coalesce(func.json_agg(run_outputs.table_valued()), func.json_build_array()))
    .where(run_outputs.c.run_id == runs.c.id)
    .scalar_subquery()
    .label("outputs")
)
_EVALUATION: Label[Any] = literal_column(evaluation.of_run("runs.id")).label("evaluation")


_NAMED = "named_workflows"
WORKFLOW_SLUG: ColumnElement[Any] = literal_column(f"{_NAMED}.slug", Text)
"""The slug of a run's workflow, in a statement that names workflows."""


def selection(parts: Collection[str] | None = None) -> Select[Any]:
    """Select run rows, for one record or for a list; of the heavy columns only those that these fields need."""
    left_out = {column for field, column in HEAVY.items() if parts is not None and field not in parts}
    columns: list[Any] = [column for column in runs.c if column.name not in left_out]
    if parts is None or evaluation.FIELDS.intersection(parts):
        columns.append(_EVALUATION)
    return select(*columns) if "outputs" in left_out else select(*columns, _OUTPUTS)


def of_organization(
    org_id: UUID, parts: Collection[str] | None, *, foreign: Sequence[Row[Any]] | None = None
) -> Select[Any]:
    """Select the runs of an organization, for a list.

    With `foreign`, `WORKFLOW_SLUG` is there too: of these workflows (id, slug) and of the organization's own ones.
    """
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    statement = selection(parts).where(runs.c.org_id == org_id)
    if foreign is None:
        return statement
    named: Any = select(workflows.c.id, workflows.c.slug)
    if foreign:
        others = values(column("id", Uuid), column("slug", Text), name="others")
        named = named.union_all(select(others.data([(row.id, row.slug) for row in foreign])))
    named = named.subquery(_NAMED)
    return statement.outerjoin(named, named.c.id == runs.c.comfyui_workflow_id)


def of_workflow(statement: Select[Any], workflow_id: UUID) -> Select[Any]:
    """Narrow a list to the runs of one workflow."""
    return statement.where(runs.c.comfyui_workflow_id == workflow_id)


_BY_ID = f"""
    SELECT r.*, (SELECT coalesce(json_agg(o), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id) AS outputs,
           {evaluation.of_run("r.id")} AS evaluation
    FROM runs r WHERE r.id = %(id)s
"""  # noqa: S608 - a constant


async def by_id(services: Services, org_id: UUID, run_id: UUID) -> Any | None:
    """Return a run of this organization with its outputs: one round trip, for it is read more often than all else."""
    async with services.db.tenant_pipeline(org_id) as connection:
        found = await connection.later(_BY_ID, {"id": run_id})
    return await found.fetchone()


async def by_ids(connection: AsyncConnection, run_ids: list[UUID]) -> list[Row[Any]]:
    """Return those of these runs that the transaction's tenant has."""
    return list(await connection.execute(selection().where(runs.c.id.in_(run_ids))))


async def rows(connection: AsyncConnection, statement: Select[Any]) -> list[Row[Any]]:
    """Run a list's statement."""
    return list(await connection.execute(statement))


async def workflows_of(connection: AsyncConnection, ids: list[UUID]) -> list[Row[Any]]:
    """Return these workflows of the transaction's tenant, deleted ones included."""
    return list(await connection.execute(select(workflows).where(workflows.c.id.in_(ids))))
