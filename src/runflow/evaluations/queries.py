"""SQL of evaluations, for their callers: records, lists, statistics, and what a run's record tells of them.

Row-level security limits each statement to the transaction's tenant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Select, func, insert, select, update

from runflow.db.transaction import Transaction
from runflow.evaluations.schemas import EMBEDS, Evaluation
from runflow.evaluations.tables import (
    EvaluationRow,
    EvaluationStatus,
    IssueRow,
    JudgeRow,
    evaluation_issues,
    evaluation_judges,
    evaluations,
)
from runflow.runs.tables import runs
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.web.period import Period

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


async def by_id(
    transaction: Transaction, org_id: UUID, evaluation_id: UUID, run_id: UUID | None = None
) -> EvaluationRow | None:
    """Return an evaluation, with `run_id` only where it belongs to that run."""
    statement = selection(org_id).where(evaluations.c.id == evaluation_id)
    if run_id is not None:
        statement = statement.where(evaluations.c.run_id == run_id)
    return await transaction.first(statement, row=EvaluationRow)


async def add(transaction: Transaction, values: Mapping[str, Any]) -> EvaluationRow:
    """Insert an evaluation that waits to be judged, and return it."""
    return await transaction.one(insert(evaluations).values(**values).returning(evaluations), row=EvaluationRow)


async def workflow_of_run(transaction: Transaction, run_id: UUID) -> UUID | None:
    """Return the workflow of a run of the tenant; None when there is no such run."""
    return await transaction.value(select(runs.c.comfyui_workflow_id).where(runs.c.id == run_id), of=UUID)


async def run_exists(transaction: Transaction, run_id: UUID) -> bool:
    """Tell whether the tenant has this run."""
    return await transaction.value(select(runs.c.id).where(runs.c.id == run_id), of=UUID) is not None


async def set_feedback(
    transaction: Transaction, evaluation_id: UUID, is_positive: bool | None, reason: str | None
) -> None:
    """Keep what a person thinks; nulls take it back."""
    statement = (
        update(evaluations)
        .where(evaluations.c.id == evaluation_id)
        .values(feedback_is_positive=is_positive, feedback_reason=reason, updated_at=func.now())
    )
    await transaction.run(statement)


async def judges_of(transaction: Transaction, evaluation_ids: Sequence[UUID]) -> list[JudgeRow]:
    """Return what the judges of these evaluations said, in their order."""
    statement = select(evaluation_judges).where(evaluation_judges.c.evaluation_id.in_(evaluation_ids))
    return await transaction.rows(statement.order_by(evaluation_judges.c.ordinal), row=JudgeRow)


async def issues_of(transaction: Transaction, evaluation_ids: Sequence[UUID]) -> list[IssueRow]:
    """Return the issues that were found in these evaluations, in the order in which they were told."""
    statement = select(evaluation_issues).where(evaluation_issues.c.evaluation_id.in_(evaluation_ids))
    return await transaction.rows(statement.order_by(evaluation_issues.c.ordinal), row=IssueRow)


_OWN = evaluations.c

EVALUATION_LIST = ListSpec(
    from_=evaluations,
    fields=(
        ListField("id", _OWN.id, FieldKind.UUID),
        ListField("run_id", _OWN.run_id, FieldKind.UUID, nullable=True),
        ListField("comfyui_workflow_id", _OWN.comfyui_workflow_id, FieldKind.UUID, nullable=True),
        ListField("is_automatic", _OWN.is_automatic, FieldKind.BOOL),
        ListField("status_code", _OWN.status_code, FieldKind.ENUM, choices=tuple(EvaluationStatus)),
        ListField("job_class_code", _OWN.job_class_code, FieldKind.STRING),
        ListField("task_type", _OWN.task_type, FieldKind.STRING),
        ListField("overall_passed", _OWN.overall_passed, FieldKind.BOOL, nullable=True),
        ListField("weighted_pass_rate", _OWN.weighted_pass_rate, FieldKind.DECIMAL, nullable=True),
        ListField("score", _OWN.score, FieldKind.DECIMAL, nullable=True),
        ListField("primary_action_code", _OWN.primary_action_code, FieldKind.STRING, nullable=True),
        ListField("failure_code", _OWN.failure_code, FieldKind.STRING, nullable=True),
        ListField("feedback_is_positive", _OWN.feedback_is_positive, FieldKind.BOOL, nullable=True),
        ListField("client_ref", _OWN.client_ref, FieldKind.STRING, nullable=True),
        ListField("request_id", _OWN.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", _OWN.created_by, FieldKind.UUID, nullable=True),
        ListField("eval_duration_ms", _OWN.eval_duration_ms, FieldKind.INT, nullable=True),
        ListField("cost", _OWN.cost, FieldKind.DECIMAL, nullable=True),
        ListField("created_at", _OWN.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", _OWN.updated_at, FieldKind.TIMESTAMP),
        ListField("completed_at", _OWN.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Evaluation.model_fields),
    embeds=EMBEDS,
)


_RANGE = "org_id = %(org)s AND comfyui_workflow_id = %(workflow)s AND created_at >= %(start)s AND created_at < %(end)s"

_SERIES = f"""
    SELECT date_trunc(%(bucket)s, created_at, 'UTC') AS start,
           count(*) FILTER (WHERE status_code = 'completed') AS evaluated,
           count(*) FILTER (WHERE overall_passed) AS passed,
           count(*) FILTER (WHERE NOT overall_passed) AS failed,
           sum(score) AS score,
           count(*) FILTER (WHERE feedback_is_positive) AS positive,
           count(*) FILTER (WHERE NOT feedback_is_positive) AS negative
    FROM evaluations WHERE {_RANGE} GROUP BY 1
"""  # noqa: S608 - _RANGE is the constant above

_ISSUES = f"""
    SELECT category, subcategory, count(*) AS count FROM evaluation_issues
    WHERE {_RANGE} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class StepRow:
    """The evaluations of one step of a period; `score` is the sum."""

    start: datetime
    evaluated: int
    passed: int
    failed: int
    score: float | None
    positive: int
    negative: int


@dataclass(frozen=True, slots=True)
class IssueCountRow:
    """How often one kind of issue was found."""

    category: str
    subcategory: str
    count: int


async def series(transaction: Transaction, org_id: UUID, workflow: UUID, period: Period) -> list[StepRow]:
    """Return the counts of each step of the period that has any."""
    values = {**_values(org_id, workflow, period), "bucket": period.bucket.value}
    return await transaction.rows(_SERIES, values, row=StepRow)


async def issues(transaction: Transaction, org_id: UUID, workflow: UUID, period: Period) -> list[IssueCountRow]:
    """Return how often each kind of issue was found, the commonest first."""
    return await transaction.rows(_ISSUES, _values(org_id, workflow, period), row=IssueCountRow)


def _values(org_id: UUID, workflow: UUID, period: Period) -> dict[str, Any]:
    return {"org": org_id, "workflow": workflow, "start": period.start, "end": period.end}


_ORIGIN = """
    SELECT r.input, v.interface, w.evaluation_task_type
    FROM runs r JOIN workflow_versions v ON v.id = r.version_id JOIN workflows w ON w.id = r.comfyui_workflow_id
    WHERE r.id = %(run)s
"""

_ADD = """
    INSERT INTO evaluations (id, org_id, run_id, comfyui_workflow_id, is_automatic, task_type, generation_prompt,
                             image_object_key, image_content_type, output_id, input_attributes, reference_images,
                             request_id)
    SELECT id, %(org)s, %(run)s, %(workflow)s, true, %(task_type)s, %(prompt)s, image_object_key, image_content_type,
           output_id, CAST(%(attributes)s AS json), CAST(%(references)s AS json), %(request_id)s
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS o(
        id uuid, image_object_key text, image_content_type text, output_id text)
"""


@dataclass(frozen=True, slots=True)
class OriginRow:
    """What a run was given, the interface of its version, and the task type that its workflow names."""

    input: dict[str, Any]
    interface: dict[str, Any]
    evaluation_task_type: str | None


async def origin(transaction: Transaction, run: UUID) -> OriginRow:
    """Return what a run came from."""
    return await transaction.one(_ORIGIN, {"run": run}, row=OriginRow)


async def add_automatic(transaction: Transaction, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> None:
    """Queue one evaluation per row, free of charge."""
    await transaction.run(_ADD, {**shared, "rows": orjson.dumps(rows).decode()})
