"""SQL of examples and golden runs.

Locks are taken in the order workflow, golden run, and what follows of `queue/queries.py`: run, attempt, lane.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.golden.schemas import Example, GoldenRun
from runflow.workflows.golden.tables import (
    ExampleRow,
    GoldenExampleRow,
    GoldenRow,
    GoldenStatus,
    golden_runs,
    workflow_examples,
)
from runflow.workflows.tables import workflow_versions

EXAMPLE_LIST = ListSpec(
    from_=workflow_examples,
    fields=(
        ListField("id", workflow_examples.c.id, FieldKind.UUID),
        ListField("name", workflow_examples.c.name, FieldKind.STRING),
        ListField("evaluate", workflow_examples.c.evaluate, FieldKind.BOOL),
        ListField("run_id", workflow_examples.c.run_id, FieldKind.UUID, nullable=True),
        ListField("created_by", workflow_examples.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", workflow_examples.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", workflow_examples.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Example.model_fields),
    default_sort="name:asc",
)

_WITH_NUMBER = golden_runs.join(workflow_versions, workflow_versions.c.id == golden_runs.c.version_id)

GOLDEN_LIST = ListSpec(
    from_=_WITH_NUMBER,
    fields=(
        ListField("id", golden_runs.c.id, FieldKind.UUID),
        ListField("version", workflow_versions.c.number, FieldKind.INT),
        ListField("status_code", golden_runs.c.status_code, FieldKind.ENUM, choices=tuple(GoldenStatus)),
        ListField("created_by", golden_runs.c.created_by, FieldKind.UUID),
        ListField("expires_at", golden_runs.c.expires_at, FieldKind.TIMESTAMP),
        ListField("created_at", golden_runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("completed_at", golden_runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(GoldenRun.model_fields),
)


def examples_page(org_id: UUID, workflow_id: UUID) -> sa.Select[Any]:
    """Return the SELECT of the examples of a workflow."""
    return sa.select(workflow_examples).where(
        workflow_examples.c.org_id == org_id, workflow_examples.c.workflow_id == workflow_id
    )


async def examples(transaction: Transaction, workflow_id: UUID) -> list[ExampleRow]:
    """Return the examples of a workflow, by name."""
    statement = sa.select(workflow_examples).where(workflow_examples.c.workflow_id == workflow_id)
    return await transaction.rows(statement.order_by(workflow_examples.c.name), row=ExampleRow)


async def example(transaction: Transaction, workflow_id: UUID, name: str) -> ExampleRow | None:
    """Return one example of a workflow."""
    statement = sa.select(workflow_examples).where(
        workflow_examples.c.workflow_id == workflow_id, workflow_examples.c.name == name
    )
    return await transaction.first(statement, row=ExampleRow)


async def example_by_id(transaction: Transaction, example_id: UUID) -> ExampleRow | None:
    """Return an example of any workflow."""
    return await transaction.first(
        sa.select(workflow_examples).where(workflow_examples.c.id == example_id), row=ExampleRow
    )


_KEEP = """
    INSERT INTO workflow_examples (id, org_id, workflow_id, name, input, evaluate, run_id, created_by)
    VALUES (%(id)s, current_org(), %(workflow)s, %(name)s, CAST(%(input)s AS json), %(evaluate)s, %(run_id)s, %(key)s)
    ON CONFLICT (workflow_id, name) DO UPDATE SET input = excluded.input, evaluate = excluded.evaluate,
        run_id = excluded.run_id, updated_at = clock_timestamp()
"""


async def keep(transaction: Transaction, workflow_id: UUID, values: Mapping[str, Any]) -> None:
    """Store an example, in the place of the one of its name: `id`, `name`, `input`, `evaluate`, `run_id`, `key`."""
    text = orjson.dumps(values["input"]).decode()
    await transaction.run(_KEEP, {**values, "input": text, "workflow": workflow_id})


async def forget(transaction: Transaction, workflow_id: UUID, names: Sequence[str] | None = None) -> int:
    """Delete the examples of these names, by default all of a workflow; return how many there were."""
    statement = sa.delete(workflow_examples).where(workflow_examples.c.workflow_id == workflow_id)
    if names is not None:
        statement = statement.where(workflow_examples.c.name.in_(names))
    return await transaction.change(statement)


# ---------------------------------------------------------------------------------------------------------- golden runs
_GOLDEN_COLUMNS = (
    *(
        golden_runs.c[name]
        for name in ("id", "org_id", "workflow_id", "version_id", "status_code", "reasons", "created_by", "request_id",
                     "expires_at", "created_at", "completed_at")
    ),
    workflow_versions.c.number,
)  # fmt: skip


def _golden() -> sa.Select[Any]:
    return sa.select(*_GOLDEN_COLUMNS).select_from(_WITH_NUMBER)


def golden_page(org_id: UUID, workflow_id: UUID) -> sa.Select[Any]:
    """Return the SELECT of the golden runs of a workflow."""
    return _golden().where(golden_runs.c.org_id == org_id, golden_runs.c.workflow_id == workflow_id)


async def golden_run(transaction: Transaction, golden_id: UUID, *, workflow_id: UUID | None = None) -> GoldenRow | None:
    """Return a golden run, of this workflow if one is named."""
    statement = _golden().where(golden_runs.c.id == golden_id)
    if workflow_id is not None:
        statement = statement.where(golden_runs.c.workflow_id == workflow_id)
    return await transaction.first(statement, row=GoldenRow)


async def locked_golden_run(transaction: Transaction, golden_id: UUID) -> GoldenRow | None:
    """Return a golden run, holding off whoever else would change it until the transaction ends."""
    statement = _golden().where(golden_runs.c.id == golden_id).with_for_update(of=golden_runs)
    return await transaction.first(statement, row=GoldenRow)


_LATEST = """
    SELECT DISTINCT ON (g.{of}) g.id, g.org_id, g.workflow_id, g.version_id, v.number, g.status_code, g.reasons,
           g.created_by, g.request_id, g.expires_at, g.created_at, g.completed_at
    FROM golden_runs g JOIN workflow_versions v ON v.id = g.version_id
    WHERE g.{of} = ANY(%(ids)s) ORDER BY g.{of}, g.created_at DESC, g.id DESC
"""


async def latest_of_workflows(transaction: Transaction, workflow_ids: Collection[UUID]) -> list[GoldenRow]:
    """Return the latest golden run of each of these workflows that has had one."""
    return await transaction.rows(_LATEST.format(of="workflow_id"), {"ids": list(workflow_ids)}, row=GoldenRow)


async def latest_of_versions(transaction: Transaction, version_ids: Collection[UUID]) -> list[GoldenRow]:
    """Return the latest golden run of each of these versions that has had one."""
    return await transaction.rows(_LATEST.format(of="version_id"), {"ids": list(version_ids)}, row=GoldenRow)


_INSERT_GOLDEN = """
    INSERT INTO golden_runs (id, org_id, workflow_id, version_id, status_code, reasons, created_by, request_id,
                             expires_at, completed_at, created_at)
    VALUES (%(id)s, current_org(), %(workflow)s, %(version)s, %(status)s, CAST(%(reasons)s AS json), %(key)s,
            %(request_id)s, clock_timestamp() + make_interval(secs => %(seconds)s),
            CASE WHEN %(status)s = 'running' THEN NULL ELSE clock_timestamp() END, clock_timestamp())
"""
_INSERT_EXAMPLES = """
    INSERT INTO golden_run_examples (golden_run_id, org_id, place, name, input, evaluate)
    SELECT %(golden)s, current_org(), e.place, e.name, e.input, e.evaluate
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS e(place integer, name text, input json, evaluate boolean)
"""


async def insert_golden(transaction: Transaction, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Store a golden run that is due at once, with the examples that it is to run."""
    await transaction.run(_INSERT_GOLDEN, {**values, "reasons": orjson.dumps(values["reasons"]).decode()})
    await transaction.run(_INSERT_EXAMPLES, {"golden": values["id"], "rows": orjson.dumps(rows).decode()})


_EXAMPLES_OF = """
    SELECT e.golden_run_id, e.place, e.name, e.input, e.evaluate, e.run_id, r.status_code AS run_status,
           r.failure_code, r.failure_message
    FROM golden_run_examples e LEFT JOIN runs r ON r.id = e.run_id
    WHERE e.golden_run_id = ANY(%(ids)s) ORDER BY e.golden_run_id, e.place
"""


async def examples_of(transaction: Transaction, golden_ids: Collection[UUID]) -> list[GoldenExampleRow]:
    """Return the examples of golden runs in their order, with what became of their runs."""
    return await transaction.rows(_EXAMPLES_OF, {"ids": list(golden_ids)}, row=GoldenExampleRow)


_LINK = """
    UPDATE golden_run_examples SET run_id = %(run)s, input = '{}'
    WHERE golden_run_id = %(golden)s AND place = %(place)s AND run_id IS NULL
"""


async def link(transaction: Transaction, golden_id: UUID, place: int, run_id: UUID) -> bool:
    """Note which run an example became; the run has its input from now on. Tell whether nobody else did before."""
    return await transaction.change(_LINK, {"golden": golden_id, "place": place, "run": run_id}) == 1


_END = """
    UPDATE golden_runs SET status_code = %(status)s, reasons = CAST(%(reasons)s AS json), due_at = clock_timestamp(),
        completed_at = clock_timestamp()
    WHERE id = %(id)s AND status_code = 'running'
"""


async def end(transaction: Transaction, golden_id: UUID, status: str, reasons: Sequence[Mapping[str, Any]]) -> bool:
    """End a golden run that is running; its runs are stopped, and its end told, by who looks at it next."""
    values = {"id": golden_id, "status": status, "reasons": orjson.dumps(reasons).decode()}
    return await transaction.change(_END, values) == 1


_END_OF_WORKFLOW = """
    UPDATE golden_runs SET status_code = %(status)s, reasons = CAST(%(reasons)s AS json), due_at = clock_timestamp(),
        completed_at = clock_timestamp()
    WHERE workflow_id = %(workflow)s AND status_code = 'running'
"""


async def end_of_workflow(transaction: Transaction, workflow_id: UUID, status: str, reason: Mapping[str, Any]) -> bool:
    """End the golden run of a workflow that is running, if one is; tell whether one was."""
    values = {"workflow": workflow_id, "status": status, "reasons": orjson.dumps([reason]).decode()}
    return await transaction.change(_END_OF_WORKFLOW, values) == 1


# ----------------------------------------------------------------------------------------------- looking at what is due
@dataclass(frozen=True, slots=True)
class DueGolden:
    """A golden run that somebody has to look at, and whom it belongs to."""

    id: UUID
    org_id: UUID
    org_slug: str


_CLAIM = """
    UPDATE golden_runs g SET due_at = now() + make_interval(secs => %(seconds)s)
    FROM organizations o
    WHERE o.id = g.org_id AND g.id IN (
        SELECT id FROM golden_runs WHERE due_at <= now() ORDER BY due_at LIMIT %(many)s FOR UPDATE SKIP LOCKED)
    RETURNING g.id, g.org_id, o.slug AS org_slug
"""
_NEXT = "SELECT extract(epoch FROM min(due_at) - now())::double precision FROM golden_runs WHERE due_at > now()"
_LOOK = """
    UPDATE golden_runs SET due_at = least(now() + make_interval(secs => %(seconds)s), greatest(expires_at, now()))
    WHERE id = %(id)s AND due_at IS NOT NULL AND status_code = 'running'
"""
_DONE = "UPDATE golden_runs SET due_at = NULL WHERE id = %(id)s AND status_code <> 'running'"
_AT_ONCE = "UPDATE golden_runs SET due_at = now() WHERE id = ANY(%(ids)s) AND due_at IS NOT NULL"


async def claim(transaction: Transaction, many: int, seconds: float) -> list[DueGolden]:
    """Take at most so many golden runs that are due; they are due again after so many seconds."""
    return await transaction.rows(_CLAIM, {"many": many, "seconds": seconds}, row=DueGolden)


async def seconds_to_next(transaction: Transaction) -> float | None:
    """Return how long it is until the next one is due; None: none waits."""
    return await transaction.value(_NEXT, of=float)


async def look_again(transaction: Transaction, golden_id: UUID, seconds: float) -> None:
    """Make a running one due after so many seconds, and at its end in any case."""
    await transaction.run(_LOOK, {"id": golden_id, "seconds": seconds})


async def done(transaction: Transaction, golden_id: UUID) -> bool:
    """Note that nothing is left to do for one that has ended; tell whether it had."""
    return await transaction.change(_DONE, {"id": golden_id}) == 1


async def due_at_once(transaction: Transaction, ids: Sequence[UUID]) -> None:
    """Give back golden runs whose look was interrupted."""
    await transaction.run(_AT_ONCE, {"ids": list(ids)})


_OPEN_RUNS = """
    SELECT r.id FROM golden_run_examples e JOIN runs r ON r.id = e.run_id
    WHERE e.golden_run_id = %(id)s AND r.status_code NOT IN ('succeeded', 'failed', 'cancelled') ORDER BY r.id
"""


async def open_runs(transaction: Transaction, golden_id: UUID) -> list[UUID]:
    """Return the runs of a golden run that have not ended."""
    return await transaction.values(_OPEN_RUNS, {"id": golden_id}, of=UUID)


async def now(transaction: Transaction) -> datetime:
    """Return the database's time."""
    return await transaction.one_value("SELECT clock_timestamp()", of=datetime)
