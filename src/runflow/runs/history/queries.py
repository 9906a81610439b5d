"""SQL of log lines, node runs and attempts. Log lines are the events of the type `log`."""

from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, select

from runflow.db.transaction import Transaction
from runflow.runs.history.schemas import Attempt, AttemptStatus, LogLevel, LogLine, NodeRun, NodeState
from runflow.runs.tables import AttemptRow, LogRow, NodeRunRow, run_attempts, run_events, run_node_runs, runs
from runflow.web.lists import FieldKind, ListField, ListSpec

LEVEL: ColumnElement[Any] = func.coalesce(run_events.c.data.op("->>")("level_code"), "info", type_=Text)
MESSAGE: ColumnElement[Any] = func.coalesce(run_events.c.data.op("->>")("message"), "", type_=Text)


_LOG: list[Any] = [run_events.c[one.name] for one in fields(LogRow)]
_NODE_RUN: list[Any] = [run_node_runs.c[one.name] for one in fields(NodeRunRow)]
_ATTEMPT: list[Any] = [run_attempts.c[one.name] for one in fields(AttemptRow)]


# A run's rows are bounded by its id; those of all runs by the organization, which an index on org_id serves.
def logs(org_id: UUID, run_id: UUID | None = None) -> Select[Any]:
    """Select the log lines of one run, or of all runs."""
    statement = select(*_LOG).where(run_events.c.type_code == "log", run_events.c.org_id == org_id)
    return statement if run_id is None else statement.where(run_events.c.run_id == run_id)


def node_runs(org_id: UUID, run_id: UUID | None = None) -> Select[Any]:
    """Select the node runs of one run, or of all runs."""
    statement = select(*_NODE_RUN).where(run_node_runs.c.org_id == org_id)
    return statement if run_id is None else statement.where(run_node_runs.c.run_id == run_id)


def attempts(org_id: UUID, run_id: UUID) -> Select[Any]:
    """Select the attempts of a run. An offer that its worker has not taken up is none yet."""
    return select(*_ATTEMPT).where(
        run_attempts.c.org_id == org_id, run_attempts.c.run_id == run_id, run_attempts.c.number.is_not(None)
    )


async def one_log(transaction: Transaction, org_id: UUID, run_id: UUID | None, line: UUID) -> LogRow | None:
    """Return a log line by its id."""
    return await transaction.first(logs(org_id, run_id).where(run_events.c.id == line), row=LogRow)


async def one_node_run(transaction: Transaction, org_id: UUID, run_id: UUID | None, one: UUID) -> NodeRunRow | None:
    """Return a node run by its id."""
    return await transaction.first(node_runs(org_id, run_id).where(run_node_runs.c.id == one), row=NodeRunRow)


async def run_exists(transaction: Transaction, run_id: UUID) -> bool:
    """Tell whether the transaction's tenant has this run."""
    return await transaction.value(select(runs.c.id).where(runs.c.id == run_id), of=UUID) is not None


# ------------------------------------------------------------------------------------------------- several runs at once
async def logs_of(transaction: Transaction, run_ids: list[UUID], most: int) -> list[LogRow]:
    """Return the last `most` log lines of each of these runs, oldest first."""
    place = func.row_number().over(partition_by=run_events.c.run_id, order_by=run_events.c.sequence.desc())
    ranked = (
        select(*_LOG, place.label("place"))
        .where(run_events.c.run_id.in_(run_ids), run_events.c.type_code == "log")
        .subquery()
    )
    shown = [ranked.c[one.name] for one in fields(LogRow)]
    statement = select(*shown).where(ranked.c.place <= most).order_by(ranked.c.run_id, ranked.c.sequence)
    return await transaction.rows(statement, row=LogRow)


async def node_runs_of(transaction: Transaction, run_ids: list[UUID]) -> list[NodeRunRow]:
    """Return the node runs of these runs, in the order in which they began."""
    statement = select(*_NODE_RUN).where(run_node_runs.c.run_id.in_(run_ids))
    return await transaction.rows(statement.order_by(run_node_runs.c.started_at, run_node_runs.c.id), row=NodeRunRow)


async def attempts_of(transaction: Transaction, run_ids: list[UUID]) -> list[AttemptRow]:
    """Return the attempts of these runs, oldest first."""
    statement = select(*_ATTEMPT).where(run_attempts.c.run_id.in_(run_ids), run_attempts.c.number.is_not(None))
    return await transaction.rows(statement.order_by(run_attempts.c.number), row=AttemptRow)


# -------------------------------------------------------------------------------------------------------------- events
EVENTS = """
    SELECT r.status_code, r.created_at, r.completed_at, r.duration_ms, r.waited_ms, r.machine_ms, r.runtime_ms,
           r.model_ms, r.engine_ms, r.failure_code, r.failure_stage_code, r.failure_message, r.cancellation_reason,
           (SELECT coalesce(json_agg(a ORDER BY a.number), '[]'::json) FROM (
                SELECT number, offered_at, started_at, status_code = 'succeeded' OR execute_ms > 0 AS ran,
                       EXISTS (SELECT FROM run_events e WHERE e.run_id = t.run_id AND e.attempt_id = t.id
                               AND e.type_code = 'status') AS told
                FROM run_attempts t WHERE t.run_id = r.id AND t.number IS NOT NULL) a) AS attempts,
           (SELECT coalesce(json_agg(e ORDER BY e.sequence), '[]'::json) FROM (
                SELECT sequence, id, type_code, data, created_at FROM run_events
                WHERE run_id = r.id AND sequence > %(after)s ORDER BY sequence LIMIT %(most)s) e) AS events
    FROM runs r WHERE r.id = %(run)s
"""
"""A run and what happened in it after an event, in one snapshot: an `EventsRow`."""


LOG_LIST = ListSpec(
    from_=run_events,
    fields=(
        ListField("id", run_events.c.id, FieldKind.UUID),
        ListField("run_id", run_events.c.run_id, FieldKind.UUID),
        ListField("number", run_events.c.sequence, FieldKind.INT),
        ListField("level_code", LEVEL, FieldKind.ENUM, choices=tuple(LogLevel)),
        ListField("message", MESSAGE, FieldKind.STRING, sortable=False),
        ListField("timestamp", run_events.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(LogLine.model_fields) - {"run"},
    embeds=frozenset({"run"}),
    default_sort="timestamp:desc,number:desc",
)

NODE_RUN_LIST = ListSpec(
    from_=run_node_runs,
    fields=(
        ListField("id", run_node_runs.c.id, FieldKind.UUID),
        ListField("run_id", run_node_runs.c.run_id, FieldKind.UUID),
        ListField("attempt_id", run_node_runs.c.attempt_id, FieldKind.UUID),
        ListField("node_id", run_node_runs.c.node_id, FieldKind.STRING),
        ListField("node_type", run_node_runs.c.node_type, FieldKind.STRING),
        ListField("title", run_node_runs.c.title, FieldKind.STRING, sortable=False, nullable=True),
        ListField("state_code", run_node_runs.c.state_code, FieldKind.ENUM, choices=tuple(NodeState)),
        ListField("duration_ms", run_node_runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("load_ms", run_node_runs.c.load_ms, FieldKind.INT, nullable=True),
        ListField("error_message", run_node_runs.c.error_message, FieldKind.STRING, sortable=False, nullable=True),
        ListField("created_at", run_node_runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", run_node_runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", run_node_runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(NodeRun.model_fields),
)

ATTEMPT_LIST = ListSpec(
    from_=run_attempts,
    fields=(
        ListField("id", run_attempts.c.id, FieldKind.UUID),
        ListField("number", run_attempts.c.number, FieldKind.INT),
        ListField("worker_id", run_attempts.c.worker_id, FieldKind.UUID),
        ListField("gpu_code", run_attempts.c.gpu_code, FieldKind.STRING),
        ListField("status_code", run_attempts.c.status_code, FieldKind.ENUM, choices=tuple(AttemptStatus)),
        ListField("cold_start", run_attempts.c.cold_start, FieldKind.BOOL),
        ListField("failure_code", run_attempts.c.failure_code, FieldKind.STRING, nullable=True),
        *(
            ListField(name, run_attempts.c[name], FieldKind.INT, nullable=True)
            for name in ("prepare_ms", "load_ms", "execute_ms", "upload_ms", "peak_memory_bytes")
        ),
        ListField("started_at", run_attempts.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", run_attempts.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Attempt.model_fields),
    default_sort="number:asc",
)


# ------------------------------------------------------------------------------------------------------------- pictures
_STALE = "DELETE FROM run_previews WHERE watched_until < now() - interval '1 minute'"

_WATCH = """
    INSERT INTO run_previews AS p (run_id, org_id, watched_until)
    VALUES (%(run)s, current_org(), now() + make_interval(secs => %(seconds)s))
    ON CONFLICT (run_id) DO UPDATE SET watched_until = greatest(p.watched_until, excluded.watched_until)
"""

_WATCH_NO_MORE = "DELETE FROM run_previews WHERE run_id = %(run)s"

_PREVIEW = """
    SELECT number, node_id, node_type, content_type, content FROM run_previews
    WHERE run_id = %(run)s AND number > %(seen)s AND content IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """What a run's node showed last."""

    number: int
    node_id: str
    node_type: str
    content_type: str
    content: str


async def watch(transaction: Transaction, run_id: UUID, seconds: float) -> None:
    """Ask for pictures of a run of the tenant for so many seconds, and forget those that nobody looks at any more."""
    await transaction.run(_STALE)
    await transaction.run(_WATCH, {"run": run_id, "seconds": seconds})


async def watch_no_more(transaction: Transaction, run_id: UUID) -> None:
    """Ask for no more pictures of a run."""
    await transaction.run(_WATCH_NO_MORE, {"run": run_id})


async def preview(transaction: Transaction, run_id: UUID, seen: int) -> PreviewRow | None:
    """Return the newest picture of a run, if it is newer than the one of number `seen`."""
    return await transaction.first(_PREVIEW, {"run": run_id, "seen": seen}, row=PreviewRow)
