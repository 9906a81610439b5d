"""SQL of evaluations, for their callers. Row-level security limits each statement to the transaction's tenant."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.evaluations.tables import evaluation_issues, evaluation_judges, evaluations
from runflow.runs.tables import runs

_GONE = func.coalesce(
    select(runs.c.output_expired).where(runs.c.id == evaluations.c.run_id).scalar_subquery(), False
).label("output_expired")


def selection(org_id: UUID) -> Select[Any]:
    """Select the evaluations of an organization, for one record or for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(evaluations, _GONE).where(evaluations.c.org_id == org_id)


def of_run(org_id: UUID, run_id: UUID) -> Select[Any]:
    """Select the evaluations of one run."""
    return selection(org_id).where(evaluations.c.run_id == run_id)


async def rows(connection: AsyncConnection, statement: Select[Any]) -> Sequence[Row[Any]]:
    """Run a list's statement."""
    found: Sequence[Row[Any]] = (await connection.execute(statement)).all()
    return found


async def by_id(
    connection: AsyncConnection, org_id: UUID, evaluation_id: UUID, run_id: UUID | None = None
) -> Row[Any] | None:
    """Return an evaluation, with `run_id` only where it belongs to that run."""
    statement = selection(org_id).where(evaluations.c.id == evaluation_id)
    if run_id is not None:
        statement = statement.where(evaluations.c.run_id == run_id)
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    """Insert an evaluation that waits to be judged, and return it."""
    made: Row[Any] = (await connection.execute(insert(evaluations).values(**values).returning(evaluations))).one()
    return made


async def workflow_of_run(connection: AsyncConnection, run_id: UUID) -> UUID | None:
    """Return the workflow of a run of the tenant; None when there is no such run."""
    found: UUID | None = await connection.scalar(select(runs.c.comfyui_workflow_id).where(runs.c.id == run_id))
    return found


async def run_exists(connection: AsyncConnection, run_id: UUID) -> bool:
    """Tell whether the tenant has this run."""
    return (await connection.scalar(select(runs.c.id).where(runs.c.id == run_id))) is not None


async def set_feedback(
    connection: AsyncConnection, evaluation_id: UUID, is_positive: bool | None, reason: str | None
) -> None:
    """Keep what a person thinks; nulls take it back."""
    statement = (
        update(evaluations)
        .where(evaluations.c.id == evaluation_id)
        .values(feedback_is_positive=is_positive, feedback_reason=reason, updated_at=func.now())
    )
    await connection.execute(statement)


async def judges_of(connection: AsyncConnection, evaluation_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Return what the judges of these evaluations said, in their order."""
    statement = select(evaluation_judges).where(evaluation_judges.c.evaluation_id.in_(evaluation_ids))
    return (await connection.execute(statement.order_by(evaluation_judges.c.ordinal))).all()


async def issues_of(connection: AsyncConnection, evaluation_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Return the issues that were found in these evaluations, in the order in which they were told."""
    statement = select(evaluation_issues).where(evaluation_issues.c.evaluation_id.in_(evaluation_ids))
    return (await connection.execute(statement.order_by(evaluation_issues.c.ordinal))).all()
