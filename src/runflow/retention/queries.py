"""SQL of retention: what is old, of every tenant, a batch at a time.

Each statement passes over rows that another process holds, and touches only runs that have ended: the queue never waits
for any of this.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from runflow.db.transaction import Transaction

_EXPIRE_OUTPUTS = text("""
    UPDATE runs SET output_expired = true
    WHERE id IN (
        SELECT id FROM runs
        WHERE status_code = 'succeeded' AND NOT output_expired AND completed_at < :before
        ORDER BY completed_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id
""")

_FORGET_EVENTS = text("""
    WITH old AS (
        SELECT e.run_id, e.sequence FROM run_events e JOIN runs r ON r.id = e.run_id
        WHERE e.created_at < :before AND r.completed_at IS NOT NULL
        LIMIT :limit FOR UPDATE OF e SKIP LOCKED
    ), gone AS (
        DELETE FROM run_events e USING old WHERE e.run_id = old.run_id AND e.sequence = old.sequence
        RETURNING e.run_id, e.type_code
    ), told AS (
        UPDATE runs SET has_logs = false
        WHERE has_logs AND id IN (SELECT run_id FROM gone WHERE type_code = 'log')
    )
    SELECT count(*) FROM gone
""")

_OLD_RUNS = text("""
    SELECT r.id, r.batch_id FROM runs r
    WHERE r.id < :first_id AND r.completed_at < :before
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.run_id = r.id AND d.status_code = 'pending')
      AND NOT EXISTS (SELECT FROM batches b WHERE b.id = r.batch_id AND b.completed_at IS NULL)
    ORDER BY r.id LIMIT :limit FOR UPDATE OF r SKIP LOCKED
""")
"""Ids are in the order of time, and what ended before some time was made before it: the primary key finds them."""

_BELONGINGS = tuple(
    text(statement)
    for statement in (
        "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE run_id = ANY(:ids))",
        "DELETE FROM deliveries WHERE run_id = ANY(:ids)",
        "DELETE FROM run_events WHERE run_id = ANY(:ids)",
        "DELETE FROM run_node_runs WHERE run_id = ANY(:ids)",
        "DELETE FROM run_outputs WHERE run_id = ANY(:ids)",
        "DELETE FROM run_attempts WHERE run_id = ANY(:ids)",
        "DELETE FROM runs WHERE id = ANY(:ids)",
    )
)
"""`usage_records` stay: a bill outlives its run. Evaluations stay as well, without their run (their table says so)."""

_EMPTY_BATCHES = text("""
    SELECT b.id FROM batches b
    WHERE b.id = ANY(:ids) AND NOT EXISTS (SELECT FROM runs r WHERE r.batch_id = b.id)
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.batch_id = b.id AND d.status_code = 'pending')
""")
_BATCHES = tuple(
    text(statement)
    for statement in (
        "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE batch_id = ANY(:ids))",
        "DELETE FROM deliveries WHERE batch_id = ANY(:ids)",
        "DELETE FROM batches WHERE id = ANY(:ids)",
    )
)


async def expire_outputs(connection: Transaction, *, before: datetime, limit: int) -> Sequence[UUID]:
    """Say of up to `limit` runs that ended before a time that their outputs are gone; return their ids."""
    found = await connection.execute(_EXPIRE_OUTPUTS, {"before": before, "limit": limit})
    return [row.id for row in found]


async def forget_events(connection: Transaction, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` events older than a time, of runs that have ended; return how many."""
    return int((await connection.execute(_FORGET_EVENTS, {"before": before, "limit": limit})).scalar_one())


async def old_runs(connection: Transaction, *, before: datetime, first_id: UUID, limit: int) -> Sequence[Row[Any]]:
    """Lock and return up to `limit` runs that ended before a time and that nothing waits for any more.

    `first_id` is the smallest id that a run made at that time can have.
    """
    return (await connection.execute(_OLD_RUNS, {"before": before, "first_id": first_id, "limit": limit})).all()


async def remove_runs(connection: Transaction, ids: Sequence[UUID], batches: Sequence[UUID]) -> None:
    """Delete runs with what belongs to them, and those of the batches that have no run left."""
    for statement in _BELONGINGS:
        await connection.execute(statement, {"ids": list(ids)})
    if batches:
        empty = [row.id for row in await connection.execute(_EMPTY_BATCHES, {"ids": list(batches)})]
        for statement in _BATCHES:
            await connection.execute(statement, {"ids": empty})
