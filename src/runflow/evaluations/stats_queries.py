"""SQL of evaluation statistics. An evaluation counts at the time of its making; only those with a verdict count."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.web.period import Period

_RANGE = "org_id = :org AND comfyui_workflow_id = :workflow AND created_at >= :start AND created_at < :end"

_SERIES = text(f"""
    SELECT date_trunc(:bucket, created_at, 'UTC') AS start,
           count(*) FILTER (WHERE status_code = 'completed') AS evaluated,
           count(*) FILTER (WHERE overall_passed) AS passed,
           count(*) FILTER (WHERE NOT overall_passed) AS failed,
           sum(score) AS score,
           count(*) FILTER (WHERE feedback_is_positive) AS positive,
           count(*) FILTER (WHERE NOT feedback_is_positive) AS negative
    FROM evaluations WHERE {_RANGE} GROUP BY 1
""")  # noqa: S608 - _RANGE is the constant above

_ISSUES = text(f"""
    SELECT category, subcategory, count(*) AS count FROM evaluation_issues
    WHERE {_RANGE} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
""")  # noqa: S608


async def series(connection: AsyncConnection, org_id: UUID, workflow: UUID, period: Period) -> list[Row[Any]]:
    """Return the counts of each step of the period that has any; `score` is the sum."""
    values = {**_values(org_id, workflow, period), "bucket": period.bucket.value}
    return list(await connection.execute(_SERIES, values))


async def issues(connection: AsyncConnection, org_id: UUID, workflow: UUID, period: Period) -> list[Row[Any]]:
    """Return how often each kind of issue was found, the commonest first."""
    return list(await connection.execute(_ISSUES, _values(org_id, workflow, period)))


def _values(org_id: UUID, workflow: UUID, period: Period) -> dict[str, Any]:
    return {"org": org_id, "workflow": workflow, "start": period.start, "end": period.end}
