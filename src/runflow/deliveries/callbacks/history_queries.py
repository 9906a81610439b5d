"""SQL of callback deliveries, for their organization; pipelined, because what a redelivery says is composed there."""

from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction

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


async def of_run(connection: Transaction, run_id: UUID) -> list[Any]:
    """Return the callback deliveries of a run, newest first."""
    return await connection.rows(_OF_RUN, {"id": run_id, "most": MOST, "bytes": MOST_BYTES})


async def of_batch(connection: Transaction, batch_id: UUID) -> list[Any]:
    """Return the callback deliveries of a batch, newest first."""
    return await connection.rows(_OF_BATCH, {"id": batch_id, "most": MOST, "bytes": MOST_BYTES})


_ATTEMPTS = "SELECT * FROM delivery_attempts WHERE delivery_id = ANY (%(ids)s) ORDER BY delivery_id, attempt_number"


async def attempts(connection: Transaction, delivery_ids: list[UUID]) -> list[Any]:
    """Return the attempts at these deliveries, in order."""
    return await connection.rows(_ATTEMPTS, {"ids": delivery_ids})


async def by_id(connection: Transaction, delivery_id: UUID) -> Any | None:
    """Return a delivery of the organization."""
    return await connection.first("SELECT * FROM deliveries WHERE id = %(id)s", {"id": delivery_id})


_RUN_EXISTS = "SELECT true FROM runs WHERE id = %(id)s"
_BATCH_EXISTS = "SELECT true FROM batches WHERE id = %(id)s"


async def run_exists(connection: Transaction, run_id: UUID) -> bool:
    """Tell whether the organization has this run."""
    return await connection.first(_RUN_EXISTS, {"id": run_id}) is not None


async def batch_exists(connection: Transaction, batch_id: UUID) -> bool:
    """Tell whether the organization has this batch."""
    return await connection.first(_BATCH_EXISTS, {"id": batch_id}) is not None


# A workflow of another organization may be out of sight by now; then its path stands in what was said before.
_RUN = """
    SELECT r.*, coalesce(
            (SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id
             WHERE w.id = r.comfyui_workflow_id),
            (SELECT convert_from(d.payload, 'UTF8')::json ->> 'workflow' FROM deliveries d WHERE d.run_id = r.id
             ORDER BY d.created_at DESC LIMIT 1)) AS workflow,
        (SELECT coalesce(json_agg(o ORDER BY o.ordinal), '[]'::json) FROM run_outputs o WHERE o.run_id = r.id)
            AS outputs
    FROM runs r WHERE r.id = %(id)s
"""

_BATCH = """
    SELECT b.*, coalesce(
            (SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id
             WHERE w.id = b.comfyui_workflow_id),
            (SELECT convert_from(d.payload, 'UTF8')::json ->> 'workflow' FROM deliveries d WHERE d.batch_id = b.id
             ORDER BY d.created_at DESC LIMIT 1)) AS workflow
    FROM batches b WHERE b.id = %(id)s
"""


async def run(connection: Transaction, run_id: UUID) -> Any | None:
    """Return a run of the organization with its outputs and the path of its workflow."""
    return await connection.first(_RUN, {"id": run_id})


async def batch(connection: Transaction, batch_id: UUID) -> Any | None:
    """Return a batch of the organization with the path of its workflow."""
    return await connection.first(_BATCH, {"id": batch_id})
