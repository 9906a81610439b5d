"""Statistics of a workflow's evaluations (docs/api/evaluations.md): own rows only, zeros where there is nothing."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from runflow.evaluations import queries
from runflow.evaluations.queries import IssueCountRow, StepRow
from runflow.web.auth import Principal
from runflow.web.lists import RecordQuery
from runflow.web.period import Period
from runflow.web.responses import Timestamp
from runflow.web.services import Services
from runflow.workflows import service as workflows

_ONLY_ID = RecordQuery(fields=("id",))


class IssueCount(BaseModel):
    """How often one kind of issue was found."""

    category: str
    subcategory: str
    count: int


class IssueCategories(BaseModel):
    """Every kind of issue that was found, the commonest first."""

    items: list[IssueCount]


class Totals(BaseModel):
    """Of the whole range."""

    evaluated: int = Field(description="Evaluations with a verdict.")
    passed: int
    failed: int
    pass_rate: float | None
    average_score: float | None


class Step(Totals):
    """Of one step of the series."""

    start: Timestamp


class FeedbackCount(BaseModel):
    """What people thought."""

    positive: int
    negative: int


class EvaluationStats(BaseModel):
    """Evaluations of one workflow over a range of time."""

    from_: Timestamp = Field(alias="from")
    to: Timestamp
    bucket: str
    totals: Totals
    issues: list[IssueCount]
    feedback: FeedbackCount
    series: list[Step] = Field(description="Every step of the range, without holes.")


async def evaluation_stats(services: Services, caller: Principal, workflow_id: UUID, period: Period) -> dict[str, Any]:
    """Return the statistics of a workflow. Raises `WorkflowNotFound`."""
    await workflows.get(services, caller, workflow_id, _ONLY_ID)
    async with services.db.listing(caller.org_id) as transaction:
        rows = await queries.series(transaction, caller.org_id, workflow_id, period)
        issues = await queries.issues(transaction, caller.org_id, workflow_id, period)
    by_start = {row.start: row for row in rows}
    return {
        "from": period.start,
        "to": period.end,
        "bucket": period.bucket,
        "totals": _totals(rows),
        "issues": _counts(issues),
        "feedback": {
            "positive": sum(row.positive for row in rows),
            "negative": sum(row.negative for row in rows),
        },
        "series": [
            {"start": start, **_totals([by_start[start]] if start in by_start else [])} for start in period.buckets()
        ],
    }


async def issue_categories(
    services: Services, caller: Principal, owner: str, slug: str, period: Period
) -> dict[str, Any]:
    """Return the kinds of issues of a workflow, and how often each was found. Raises `WorkflowNotFound`."""
    workflow = await workflows.get_by_path(services, caller, owner, slug, _ONLY_ID)
    async with services.db.listing(caller.org_id) as transaction:
        found = await queries.issues(transaction, caller.org_id, workflow["id"], period)
    return {"items": _counts(found)}


def _totals(rows: Sequence[StepRow]) -> dict[str, Any]:
    evaluated = sum(row.evaluated for row in rows)
    passed = sum(row.passed for row in rows)
    score = sum(row.score or 0.0 for row in rows)
    return {
        "evaluated": evaluated,
        "passed": passed,
        "failed": sum(row.failed for row in rows),
        "pass_rate": round(passed / evaluated, 4) if evaluated else None,
        "average_score": round(score / evaluated, 4) if evaluated else None,
    }


def _counts(rows: Sequence[IssueCountRow]) -> list[dict[str, Any]]:
    return [{"category": row.category, "subcategory": row.subcategory, "count": row.count} for row in rows]
