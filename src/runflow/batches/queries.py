"""SQL of batches and of their items, which are runs, and what the lists of both can be filtered and sorted by."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, Text, case, cast, exists, func, or_, select

from runflow.batches.schemas import BatchItem, ListedBatch
from runflow.batches.tables import BatchRow, batches
from runflow.db.transaction import Transaction
from runflow.runs.statuses import OF_RUNS
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


async def insert(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Insert a batch of the transaction's tenant; its runs follow in the same transaction."""
    metadata = values["metadata"]
    text = None if metadata is None else orjson.dumps(metadata).decode()
    await transaction.run(_INSERT, {**values, "metadata": text})


# ------------------------------------------------------------------------------------------------------------- reading
@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBatch(BatchRow):
    """A batch as callers see it; `input_bytes` only where it was asked for."""

    started_at: datetime | None
    cost: Decimal | None
    failure_code: str | None
    failure_stage_code: str | None
    failure_message: str | None
    input_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """Place and status of an item."""

    id: UUID
    batch_id: UUID
    batch_index: int
    status_code: str
    client_ref: str | None


@dataclass(frozen=True, slots=True)
class ItemInput:
    """The input of an item."""

    batch_id: UUID
    input: dict[str, Any]


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


async def by_id(transaction: Transaction, batch_id: UUID) -> ShownBatch | None:
    """Return a batch of the transaction's tenant."""
    return await transaction.first(selection().where(batches.c.id == batch_id), row=ShownBatch)


async def lean_items(transaction: Transaction, batch_ids: list[UUID]) -> list[ItemStatus]:
    """Return place and status of every item of these batches, in order."""
    columns = ("id", "batch_id", "batch_index", "status_code", "client_ref")
    statement = (
        select(*(runs.c[name] for name in columns))
        .where(runs.c.batch_id.in_(batch_ids))
        .order_by(runs.c.batch_id, runs.c.batch_index)
    )
    return await transaction.rows(statement, row=ItemStatus)


async def inputs(transaction: Transaction, batch_ids: list[UUID]) -> list[ItemInput]:
    """Return the inputs of every item of these batches, in order."""
    statement = select(runs.c.batch_id, runs.c.input).where(runs.c.batch_id.in_(batch_ids))
    return await transaction.rows(statement.order_by(runs.c.batch_id, runs.c.batch_index), row=ItemInput)


def narrowed_to_items(statement: Select[Any], batch_id: UUID) -> Select[Any]:
    """Narrow a selection of runs to the items of a batch."""
    return statement.where(runs.c.batch_id == batch_id)


async def is_there(transaction: Transaction, batch_id: UUID) -> bool:
    """Tell whether the transaction's tenant has this batch."""
    return await transaction.value(select(batches.c.id).where(batches.c.id == batch_id), of=UUID) is not None


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
            THEN elapsed_ms(created_at, clock_timestamp()) END
    WHERE id = %(batch)s
    RETURNING *
"""

_ITEMS_WITH_OUTPUTS = """
    SELECT r.id, r.batch_index, r.client_ref, r.status_code, r.output_expired, r.failure_code, r.failure_message,
           r.failure_details,
           (SELECT coalesce(json_agg(o ORDER BY o.ordinal), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id)
               AS outputs
    FROM runs r WHERE r.batch_id = %(batch)s ORDER BY r.batch_index
"""

_OPEN_ITEMS = """
    SELECT id FROM runs WHERE batch_id = %(batch)s AND org_id = %(org)s
        AND status_code IN ('queued', 'dispatching', 'running')
    ORDER BY id FOR UPDATE
"""

_ORGANIZATION = "SELECT org_id FROM batches WHERE id = %(batch)s"

_SET_REASON = "UPDATE batches SET cancellation_reason = %(reason)s WHERE id = %(batch)s"


@dataclass(frozen=True, slots=True)
class EndedItem:
    """An item of a batch that ended, with its files."""

    id: UUID
    batch_index: int
    client_ref: str | None
    status_code: str
    output_expired: bool
    failure_code: str | None
    failure_message: str | None
    failure_details: dict[str, Any] | None
    outputs: list[dict[str, Any]]


async def count(transaction: Transaction, batch: UUID, status: str) -> BatchRow:
    """Count one more item that ended; the last one ends the batch (`completed_at`). Items that end at once take turns.

    The last lock that a transaction takes: run, attempt, lane, fair share, batch.
    """
    one = {name: int(name == status) for name in ("succeeded", "failed", "cancelled")}
    return await transaction.one(_COUNT, {"batch": batch, **one}, row=BatchRow)


async def items_with_outputs(transaction: Transaction, batch: UUID) -> list[EndedItem]:
    """Return a batch's items with their files, in order."""
    return await transaction.rows(_ITEMS_WITH_OUTPUTS, {"batch": batch}, row=EndedItem)


async def open_items(transaction: Transaction, *, batch: UUID, org: UUID) -> list[UUID]:
    """Lock the items of a batch that have not ended, and return their ids."""
    return await transaction.values(_OPEN_ITEMS, {"batch": batch, "org": org}, of=UUID)


async def organization_of(transaction: Transaction, batch: UUID) -> UUID | None:
    """Return whose a batch is; None where there is none."""
    return await transaction.value(_ORGANIZATION, {"batch": batch}, of=UUID)


async def set_reason(transaction: Transaction, *, batch: UUID, reason: str | None) -> None:
    """Keep why a batch was cancelled."""
    await transaction.run(_SET_REASON, {"batch": batch, "reason": reason})


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
        ListField("status_code", runs.c.status_code, FieldKind.ENUM, choices=OF_RUNS),
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
