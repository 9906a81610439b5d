"""SQL of batches and of their items, which are runs, and what the lists of both can be filtered and sorted by."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Row, Select, Text, case, cast, exists, func, or_, select

from runflow.batches.schemas import BatchItem, ListedBatch
from runflow.batches.tables import batches
from runflow.db.transaction import Transaction
from runflow.runs.queries import STATUSES
from runflow.runs.tables import runs
from runflow.web.lists import FieldKind, ListField, ListSpec

_OF_BATCH = runs.c.batch_id == batches.c.id

STATUS: ColumnElement[Any] = case(
    (batches.c.completed_at.is_not(None), batches.c.status_code),
    (exists().where(_OF_BATCH, or_(runs.c.status_code != "queued", runs.c.attempt_count > 0)), "running"),
    else_="queued",
)
"""The status as callers see it: an open batch runs as soon as one of its items has left the queue."""

STARTED_AT: ColumnElement[Any] = select(func.min(runs.c.started_at)).where(_OF_BATCH).scalar_subquery()
COST: ColumnElement[Any] = select(func.sum(runs.c.cost)).where(_OF_BATCH).scalar_subquery()
"""What the items cost so far. A cancelled item is charged when its worker has stopped, after the batch's end."""

# ------------------------------------------------------------------------------------------------------------ creating
_INSERT = """
    INSERT INTO batches (id, org_id, comfyui_workflow_id, version_id, target_version, source_code, items_total,
                         metadata, callback_url, request_id, created_by)
    VALUES (%(id)s, current_org(), %(comfyui_workflow_id)s, %(version_id)s, %(target_version)s, %(source_code)s,
            %(items_total)s, CAST(%(metadata)s AS json), %(callback_url)s, %(request_id)s, %(created_by)s)
"""


async def insert(connection: Transaction, values: Mapping[str, Any]) -> None:
    """Insert a batch of the transaction's tenant; its runs follow in the same transaction."""
    metadata = values["metadata"]
    text = None if metadata is None else orjson.dumps(metadata).decode()
    await connection.run(_INSERT, {**values, "metadata": text})


# ------------------------------------------------------------------------------------------------------------- reading
def _first_failure(name: str) -> ColumnElement[Any]:
    """A column of the first item that failed, where the batch failed."""
    first = select(runs.c[name]).where(_OF_BATCH, runs.c.status_code == "failed").order_by(runs.c.batch_index).limit(1)
    return case((batches.c.status_code == "failed", first.scalar_subquery())).label(name)


def selection() -> Select[Any]:
    """Select batches as callers see them, for one record or for a list."""
    stored = [column for column in batches.c if column.name != "status_code"]
    seen = (STATUS.label("status_code"), STARTED_AT.label("started_at"), COST.label("cost"))
    failure = (_first_failure(name) for name in ("failure_code", "failure_stage_code", "failure_message"))
    return select(*stored, *seen, *failure)


def of_organization(org_id: UUID) -> Select[Any]:
    """Select the batches of an organization, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return selection().where(batches.c.org_id == org_id)


def with_input_bytes(statement: Select[Any]) -> Select[Any]:
    """Add `input_bytes` to a selection: the size of all its items' inputs, as text."""
    size = select(func.sum(func.octet_length(cast(runs.c.input, Text)))).where(_OF_BATCH).scalar_subquery()
    return statement.add_columns(size.label("input_bytes"))


async def by_id(connection: Transaction, batch_id: UUID) -> Row[Any] | None:
    """Return a batch of the transaction's tenant."""
    found: Row[Any] | None = (await connection.execute(selection().where(batches.c.id == batch_id))).one_or_none()
    return found


async def lean_items(connection: Transaction, batch_ids: list[UUID]) -> list[Row[Any]]:
    """Return place and status of every item of these batches, in order."""
    columns = ("id", "batch_id", "batch_index", "status_code", "client_ref")
    statement = (
        select(*(runs.c[name] for name in columns))
        .where(runs.c.batch_id.in_(batch_ids))
        .order_by(runs.c.batch_id, runs.c.batch_index)
    )
    return list(await connection.execute(statement))


async def inputs(connection: Transaction, batch_ids: list[UUID]) -> list[Row[Any]]:
    """Return the inputs of every item of these batches, in order."""
    statement = select(runs.c.batch_id, runs.c.input).where(runs.c.batch_id.in_(batch_ids))
    return list(await connection.execute(statement.order_by(runs.c.batch_id, runs.c.batch_index)))


def narrowed_to_items(statement: Select[Any], batch_id: UUID) -> Select[Any]:
    """Narrow a selection of runs to the items of a batch."""
    return statement.where(runs.c.batch_id == batch_id)


async def is_there(connection: Transaction, batch_id: UUID) -> bool:
    """Tell whether the transaction's tenant has this batch."""
    return (await connection.execute(select(batches.c.id).where(batches.c.id == batch_id))).first() is not None


async def rows(connection: Transaction, statement: Select[Any]) -> list[Row[Any]]:
    """Run a list's statement."""
    return list(await connection.execute(statement))


# -------------------------------------------------------------------------------------------------------------- ending
_COUNT = """
    UPDATE batches SET
        items_succeeded = items_succeeded + %(succeeded)s,
        items_failed = items_failed + %(failed)s,
        items_cancelled = items_cancelled + %(cancelled)s,
        status_code = CASE
            WHEN items_succeeded + items_failed + items_cancelled + 1 < items_total THEN status_code
            WHEN items_succeeded + %(succeeded)s = items_total THEN 'succeeded'
            WHEN items_cancelled + %(cancelled)s = items_total THEN 'cancelled'
            WHEN items_succeeded + %(succeeded)s = 0 THEN 'failed'
            ELSE 'partial_succeeded' END,
        completed_at = CASE
            WHEN items_succeeded + items_failed + items_cancelled + 1 = items_total THEN clock_timestamp() END,
        duration_ms = CASE
            WHEN items_succeeded + items_failed + items_cancelled + 1 = items_total
            THEN (extract(epoch FROM clock_timestamp() - created_at) * 1000)::integer END
    WHERE id = %(batch)s
    RETURNING *
"""

_ITEMS_WITH_OUTPUTS = """
    SELECT r.id, r.batch_index, r.client_ref, r.status_code, r.duration_ms, r.cost, r.output_expired, r.failure_code,
           r.failure_message, r.failure_details,
           (SELECT coalesce(json_agg(o ORDER BY o.ordinal), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id)
               AS outputs
    FROM runs r WHERE r.batch_id = %(batch)s ORDER BY r.batch_index
"""

_OPEN_ITEMS = """
    SELECT id FROM runs WHERE batch_id = %(batch)s AND org_id = %(org)s
        AND status_code IN ('queued', 'dispatching', 'running')
    ORDER BY id FOR UPDATE
"""

_FOR_CANCELLATION = "SELECT org_id, completed_at FROM batches WHERE id = %(batch)s"

_SET_REASON = "UPDATE batches SET cancellation_reason = %(reason)s WHERE id = %(batch)s"


async def count(connection: Transaction, batch: UUID, status: str) -> Any:
    """Count one more item that ended; the last one ends the batch (`completed_at`). Items that end at once take turns.

    The last lock that a transaction takes: run, attempt, lane, fair share, batch.
    """
    one = {name: int(name == status) for name in ("succeeded", "failed", "cancelled")}
    return await connection.one(_COUNT, {"batch": batch, **one})


async def items_with_outputs(connection: Transaction, batch: UUID) -> list[Any]:
    """Return a batch's items with their files, in order."""
    return await connection.rows(_ITEMS_WITH_OUTPUTS, {"batch": batch})


async def open_items(connection: Transaction, *, batch: UUID, org: UUID) -> list[UUID]:
    """Lock the items of a batch that have not ended, and return their ids."""
    return [row.id for row in await connection.rows(_OPEN_ITEMS, {"batch": batch, "org": org})]


async def for_cancellation(connection: Transaction, batch: UUID) -> Any | None:
    """Return whose a batch is and whether it has ended."""
    return await connection.first(_FOR_CANCELLATION, {"batch": batch})


async def set_reason(connection: Transaction, *, batch: UUID, reason: str | None) -> None:
    """Keep why a batch was cancelled."""
    await connection.run(_SET_REASON, {"batch": batch, "reason": reason})


BATCH_STATUSES = ("queued", "running", "succeeded", "partial_succeeded", "failed", "cancelled")

BATCH_LIST = ListSpec(
    from_=batches,
    fields=(
        ListField("id", batches.c.id, FieldKind.UUID),
        ListField("status_code", STATUS, FieldKind.ENUM, choices=BATCH_STATUSES),
        ListField("target_id", batches.c.comfyui_workflow_id, FieldKind.UUID),
        ListField("comfyui_workflow_id", batches.c.comfyui_workflow_id, FieldKind.UUID),
        ListField("target_version", batches.c.target_version, FieldKind.STRING),
        *(
            ListField(name, batches.c[name], FieldKind.INT)
            for name in ("items_total", "items_succeeded", "items_failed", "items_cancelled")
        ),
        ListField("duration_ms", batches.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("request_id", batches.c.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", batches.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", batches.c.created_at, FieldKind.TIMESTAMP),
        ListField("completed_at", batches.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(ListedBatch.model_fields),
)

ITEM_LIST = ListSpec(
    from_=runs,
    fields=(
        ListField("id", runs.c.id, FieldKind.UUID),
        ListField("run_id", runs.c.id, FieldKind.UUID),
        ListField("sequence_index", runs.c.batch_index, FieldKind.INT),
        ListField("status_code", runs.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField("client_ref", runs.c.client_ref, FieldKind.STRING, nullable=True),
        ListField("failure_code", runs.c.failure_code, FieldKind.STRING, nullable=True),
        ListField("cost", runs.c.cost, FieldKind.DECIMAL, nullable=True),
        ListField("duration_ms", runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("created_at", runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(BatchItem.model_fields) - {"run"},
    embeds=frozenset({"run"}),
    default_sort="sequence_index:asc",
)
