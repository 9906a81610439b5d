"""SQL of runs, for their callers, and what their list can be filtered by. The queue's own is in `queue/queries.py`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Label,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    values,
)

from runflow.db.transaction import Fetched, Transaction
from runflow.runs.records import EMBEDS, HEAVY
from runflow.runs.schemas import Run
from runflow.runs.statuses import OF_RUNS
from runflow.runs.tables import RunRow, run_outputs, runs
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.web.services import Services
from runflow.workflows.tables import workflows

_EVALUATION_FIELDS = frozenset({"feedback_is_positive", "feedback_reason", "current_evaluation_summary"})
"""The fields of a run's record that are made of it."""


def summary_of_run(run: str) -> str:
    """Return the scalar sub-select for the run whose id is the expression `run`; NULL for one without evaluations.

    `passed` is null until every evaluation has ended; the feedback is the one that was given last.
    """
    return f"""(
        SELECT json_build_object(
            'passed', CASE WHEN bool_and(e.due_at IS NULL) THEN bool_and(e.overall_passed) END,
            'status_code', CASE WHEN bool_or(e.status_code = 'running') THEN 'running'
                                WHEN bool_or(e.status_code = 'pending') THEN 'pending'
                                WHEN bool_or(e.status_code = 'failed') THEN 'failed' ELSE 'completed' END,
            'score', round(avg(e.score)::numeric, 4),
            'feedback', (array_agg(json_build_object('is_positive', e.feedback_is_positive,
                                                     'reason', e.feedback_reason) ORDER BY e.updated_at DESC)
                         FILTER (WHERE e.feedback_is_positive IS NOT NULL))[1])
        FROM evaluations e WHERE e.run_id = {run} HAVING count(*) > 0
    )"""  # noqa: S608 - `run` is a column's name


_OUTPUTS = (
    select(func.coalesce(func.json_agg(run_outputs.table_valued()), func.json_build_array()))
    .where(run_outputs.c.run_id == runs.c.id)
    .scalar_subquery()
    .label("outputs")
)
_MODEL: Label[Any] = func.workflow_path(runs.c.comfyui_workflow_id, runs.c.org_id, type_=Text).label("model")
_EVALUATION: Label[Any] = literal_column(summary_of_run("runs.id")).label("evaluation")


_NAMED = "named_workflows"
WORKFLOW_SLUG: ColumnElement[Any] = literal_column(f"{_NAMED}.slug", Text)
"""The slug of a run's workflow, in a statement that names workflows."""


_COLUMNS = tuple(one.name for one in fields(RunRow) if one.name in runs.c)


def selection(parts: Collection[str] | None = None) -> Select[Any]:
    """Select `RunRow`s, for one record or for a list; of the heavy columns only those that these fields need."""
    left_out = {column for field, column in HEAVY.items() if parts is not None and field not in parts}
    columns: list[Any] = [runs.c[name] for name in _COLUMNS if name not in left_out]
    if parts is None or _EVALUATION_FIELDS.intersection(parts):
        columns.append(_EVALUATION)
    if parts is None or "model" in parts:
        columns.append(_MODEL)
    return select(*columns) if "outputs" in left_out else select(*columns, _OUTPUTS)


class Named(Protocol):
    """A workflow's name."""

    @property
    def id(self) -> UUID:
        """The workflow."""

    @property
    def slug(self) -> str:
        """Its slug."""


def of_organization(
    org_id: UUID, parts: Collection[str] | None, *, foreign: Sequence[Named] | None = None
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


def of_statuses(statement: Select[Any], statuses: Collection[str]) -> Select[Any]:
    """Narrow a list to the runs with one of these statuses."""
    return statement.where(runs.c.status_code == any_(bindparam(None, [*statuses], ARRAY(Text), unique=True)))


def of_workflow(statement: Select[Any], workflow_id: UUID) -> Select[Any]:
    """Narrow a list to the runs of one workflow."""
    return statement.where(runs.c.comfyui_workflow_id == workflow_id)


_BY_ID = f"""
    SELECT {", ".join(f"r.{name}" for name in _COLUMNS)},
           (SELECT coalesce(json_agg(o), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id) AS outputs,
           {summary_of_run("r.id")} AS evaluation,
           workflow_path(r.comfyui_workflow_id, r.org_id) AS model
    FROM runs r WHERE r.id = %(id)s
"""  # noqa: S608 - constants


async def by_id(services: Services, org_id: UUID, run_id: UUID) -> RunRow | None:
    """Return a run of this organization with its outputs: one round trip, for it is read more often than all else."""
    async with services.db.tenant(org_id) as transaction:
        found = await read_one(transaction, run_id)
    return await found.fetchone()


async def read_one(transaction: Transaction, run_id: UUID) -> Fetched[RunRow]:
    """Send the statement that reads a run with its outputs."""
    return await transaction.later(_BY_ID, {"id": run_id}, row=RunRow)


async def by_ids(transaction: Transaction, run_ids: list[UUID]) -> list[RunRow]:
    """Return those of these runs that the transaction's tenant has."""
    return await transaction.rows(selection().where(runs.c.id.in_(run_ids)), row=RunRow)


OF_WORKFLOW = "workflow_slug"
"""The one field that needs a join; a list whose filter does not name it goes without."""
SOURCES = ("api", "playground", "batch", "rerun", "mcp", "golden")

RUN_LIST = ListSpec(
    from_=runs,
    fields=(
        ListField("id", runs.c.id, FieldKind.UUID),
        ListField("status_code", runs.c.status_code, FieldKind.ENUM, choices=OF_RUNS),
        ListField("status", runs.c.status_code, FieldKind.ENUM, choices=OF_RUNS),
        ListField("source_code", runs.c.source_code, FieldKind.ENUM, choices=SOURCES),
        ListField("priority", runs.c.priority, FieldKind.INT),
        ListField("target_version", runs.c.target_version, FieldKind.STRING),
        ListField("comfyui_workflow_id", runs.c.comfyui_workflow_id, FieldKind.UUID),
        ListField(OF_WORKFLOW, WORKFLOW_SLUG, FieldKind.STRING, sortable=False, nullable=True),
        ListField("target_type", runs.c.target_type, FieldKind.STRING, sortable=False),
        ListField("batch_id", runs.c.batch_id, FieldKind.UUID, nullable=True),
        ListField("batch_index", runs.c.batch_index, FieldKind.INT, nullable=True),
        ListField("rerun_of", runs.c.rerun_of, FieldKind.UUID, nullable=True),
        ListField("client_ref", runs.c.client_ref, FieldKind.STRING, nullable=True),
        ListField("request_id", runs.c.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", runs.c.created_by, FieldKind.UUID, nullable=True),
        ListField("attempt_count", runs.c.attempt_count, FieldKind.INT),
        ListField("duration_ms", runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("cost", runs.c.cost, FieldKind.DECIMAL, nullable=True),
        ListField("failure_code", runs.c.failure_code, FieldKind.STRING, nullable=True),
        ListField("failure_stage_code", runs.c.failure_stage_code, FieldKind.STRING, nullable=True),
        ListField("failure_message", runs.c.failure_message, FieldKind.STRING, sortable=False, nullable=True),
        ListField("cold_start", runs.c.cold_start, FieldKind.BOOL),
        ListField("has_logs", runs.c.has_logs, FieldKind.BOOL),
        ListField("output_expired", runs.c.output_expired, FieldKind.BOOL),
        ListField("created_at", runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Run.model_fields),
    embeds=EMBEDS,
)


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A workflow that may be run, with the version that is to be run."""

    id: UUID
    org_id: UUID
    slug: str
    status_code: str
    gpu_mode: str
    gpu_explicit_models: list[str]
    timeout_seconds: int | None
    owner: str
    version_id: UUID
    number: int
    interface: dict[str, Any]
    resources: list[Any] | None
    fingerprint: str
    is_serving: bool


_TARGET = """
    SELECT w.id, w.org_id, w.slug, w.status_code, w.gpu_mode, w.gpu_explicit_models, w.timeout_seconds,
           o.slug AS owner, v.id AS version_id, v.number, v.interface, v.resources, v.fingerprint,
           w.is_serving OR %(version)s::uuid IS NOT NULL AS is_serving
    FROM workflows w JOIN organizations o ON o.id = w.org_id JOIN workflow_versions v ON v.workflow_id = w.id
    WHERE w.id = %(workflow)s AND v.id = coalesce(%(version)s::uuid, w.version_id) AND w.deleted_at IS NULL
      AND (w.org_id = %(org)s OR (w.is_public AND w.status_code = 'active'))
"""


async def target_row(
    transaction: Transaction, *, org_id: UUID, workflow_id: UUID, version_id: UUID | None
) -> TargetRow | None:
    """Return a live workflow that this organization may run, with one of its versions (None: the current one).

    It may run its own workflows, disabled ones included, and the public, active ones of others.
    """
    values = {"org": org_id, "workflow": workflow_id, "version": version_id}
    return await transaction.first(_TARGET, values, row=TargetRow)
