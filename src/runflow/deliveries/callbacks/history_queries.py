"""SQL of callback deliveries, for their organization, and of what a redelivery tells anew."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.deliveries.tables import DeliveryAttemptRow, DeliveryRow

MOST = 500
"""Deliveries of one run or batch that are shown, the newest: their number is up to whoever asks for redeliveries."""

MOST_BYTES = 8 * 1024 * 1024
"""Of their payloads together, the newest one always whole: an answer is composed in memory."""

_NEWEST = """
    SELECT d.* FROM (
        SELECT id, sum(octet_length(payload)) OVER (ORDER BY created_at DESC, id DESC) - octet_length(payload) AS newer
        FROM deliveries WHERE {subject} = %(id)s AND kind_code = 'callback'
        ORDER BY created_at DESC, id DESC LIMIT %(most)s
    ) found JOIN deliveries d ON d.id = found.id
    WHERE found.newer < %(bytes)s ORDER BY d.created_at DESC, d.id DESC
"""
_OF_RUN = _NEWEST.format(subject="run_id")
_OF_BATCH = _NEWEST.format(subject="batch_id")


async def of_run(transaction: Transaction, run_id: UUID) -> list[DeliveryRow]:
    """Return the callback deliveries of a run, newest first."""
    return await transaction.rows(_OF_RUN, {"id": run_id, "most": MOST, "bytes": MOST_BYTES}, row=DeliveryRow)


async def of_batch(transaction: Transaction, batch_id: UUID) -> list[DeliveryRow]:
    """Return the callback deliveries of a batch, newest first."""
    return await transaction.rows(_OF_BATCH, {"id": batch_id, "most": MOST, "bytes": MOST_BYTES}, row=DeliveryRow)


_ATTEMPTS = "SELECT * FROM delivery_attempts WHERE delivery_id = ANY (%(ids)s) ORDER BY delivery_id, attempt_number"


async def attempts(transaction: Transaction, delivery_ids: list[UUID]) -> list[DeliveryAttemptRow]:
    """Return the attempts at these deliveries, in order."""
    return await transaction.rows(_ATTEMPTS, {"ids": delivery_ids}, row=DeliveryAttemptRow)


_RUN_EXISTS = "SELECT true FROM runs WHERE id = %(id)s"
_BATCH_EXISTS = "SELECT true FROM batches WHERE id = %(id)s"


async def run_exists(transaction: Transaction, run_id: UUID) -> bool:
    """Tell whether the organization has this run."""
    return await transaction.value(_RUN_EXISTS, {"id": run_id}, of=bool) is not None


async def batch_exists(transaction: Transaction, batch_id: UUID) -> bool:
    """Tell whether the organization has this batch."""
    return await transaction.value(_BATCH_EXISTS, {"id": batch_id}, of=bool) is not None


# A workflow of another organization may be out of sight by now; then its path stands in what was said before.
_RUN = """
    SELECT r.id, r.org_id, r.status_code, r.callback_url, r.request_id, r.client_ref, r.metadata, r.duration_ms,
        r.created_at, r.completed_at, r.output_expired, r.failure_code, r.failure_message, r.failure_details, coalesce(
            (SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id
             WHERE w.id = r.comfyui_workflow_id),
            (SELECT convert_from(d.payload, 'UTF8')::json ->> 'workflow' FROM deliveries d WHERE d.run_id = r.id
             ORDER BY d.created_at DESC LIMIT 1)) AS workflow,
        (SELECT coalesce(json_agg(o ORDER BY o.ordinal), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id)
            AS outputs
    FROM runs r WHERE r.id = %(id)s
"""

_BATCH = """
    SELECT b.id, b.org_id, b.status_code, b.callback_url, b.request_id, b.metadata, b.duration_ms, b.created_at,
        b.completed_at, b.items_succeeded, b.items_failed, b.items_cancelled, b.items_total, coalesce(
            (SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id
             WHERE w.id = b.comfyui_workflow_id),
            (SELECT convert_from(d.payload, 'UTF8')::json ->> 'workflow' FROM deliveries d WHERE d.batch_id = b.id
             ORDER BY d.created_at DESC LIMIT 1)) AS workflow
    FROM batches b WHERE b.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class RunToTell:
    """A run with its outputs and the path of its workflow, as a message tells of it."""

    id: UUID
    org_id: UUID
    status_code: str
    callback_url: str | None
    request_id: str | None
    client_ref: str | None
    metadata: dict[str, Any] | None
    duration_ms: int | None
    created_at: datetime
    completed_at: datetime | None
    output_expired: bool
    failure_code: str | None
    failure_message: str | None
    failure_details: dict[str, Any] | None
    workflow: str | None
    outputs: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class BatchToTell:
    """A batch with the path of its workflow, as a message tells of it."""

    id: UUID
    org_id: UUID
    status_code: str
    callback_url: str | None
    request_id: str | None
    metadata: dict[str, Any] | None
    duration_ms: int | None
    created_at: datetime
    completed_at: datetime | None
    items_succeeded: int
    items_failed: int
    items_cancelled: int
    items_total: int
    workflow: str | None


async def run(transaction: Transaction, run_id: UUID) -> RunToTell | None:
    """Return a run of the organization with its outputs and the path of its workflow."""
    return await transaction.first(_RUN, {"id": run_id}, row=RunToTell)


async def batch(transaction: Transaction, batch_id: UUID) -> BatchToTell | None:
    """Return a batch of the organization with the path of its workflow."""
    return await transaction.first(_BATCH, {"id": batch_id}, row=BatchToTell)
