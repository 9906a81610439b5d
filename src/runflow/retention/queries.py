"""SQL of retention: what is old, of every tenant, a batch at a time.

Each statement passes over rows that another process holds, and touches only runs that have ended: the queue never waits
for any of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runflow.db.transaction import Transaction

_EXPIRE_OUTPUTS = """
    UPDATE runs SET output_expired = true
    WHERE id IN (
        SELECT id FROM runs
        WHERE status_code = 'succeeded' AND NOT output_expired AND completed_at < %(before)s
          AND id <> ALL(CAST(%(aside)s AS uuid[]))
        ORDER BY completed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
"""

_KEEP_OUTPUTS = "UPDATE runs SET output_expired = false WHERE id = ANY(%(ids)s)"

_FORGET_EVENTS = """
    WITH old AS (
        SELECT e.run_id, e.sequence FROM run_events e JOIN runs r ON r.id = e.run_id
        WHERE e.created_at < %(before)s AND r.completed_at IS NOT NULL
        LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
    ), gone AS (
        DELETE FROM run_events e USING old WHERE e.run_id = old.run_id AND e.sequence = old.sequence
        RETURNING e.run_id, e.type_code
    ), told AS (
        UPDATE runs SET has_logs = false
        WHERE has_logs AND id IN (SELECT run_id FROM gone WHERE type_code = 'log')
    )
    SELECT count(*) FROM gone
"""

_OLD_RUNS = """
    SELECT r.id, r.batch_id FROM runs r
    WHERE r.id < %(first_id)s AND r.completed_at < %(before)s AND r.id <> ALL(CAST(%(aside)s AS uuid[]))
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.run_id = r.id AND d.status_code = 'pending')
      AND NOT EXISTS (SELECT FROM batches b WHERE b.id = r.batch_id AND b.completed_at IS NULL)
    ORDER BY r.id LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED
"""
"""Ids are in the order of time, and what ended before some time was made before it: the primary key finds them."""

_BELONGINGS = (
    "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE run_id = ANY(%(ids)s))",
    "DELETE FROM deliveries WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM run_events WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM run_previews WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM run_node_runs WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM run_outputs WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM run_attempts WHERE run_id = ANY(%(ids)s)",
    "DELETE FROM runs WHERE id = ANY(%(ids)s)",
)
"""`usage_records` stay: a bill outlives its run. Evaluations stay as well, without their run (their table says so)."""

_EMPTY_BATCHES = """
    SELECT b.id FROM batches b
    WHERE b.id = ANY(%(ids)s) AND NOT EXISTS (SELECT FROM runs r WHERE r.batch_id = b.id)
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.batch_id = b.id AND d.status_code = 'pending')
"""
_BATCHES = (
    "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE batch_id = ANY(%(ids)s))",
    "DELETE FROM deliveries WHERE batch_id = ANY(%(ids)s)",
    "DELETE FROM batches WHERE id = ANY(%(ids)s)",
)


async def expire_outputs(
    transaction: Transaction, *, before: datetime, limit: int, aside: Sequence[UUID]
) -> list[UUID]:
    """Say of up to `limit` runs that ended before a time that their outputs are gone; return their ids."""
    values = {"before": before, "limit": limit, "aside": list(aside)}
    return await transaction.values(_EXPIRE_OUTPUTS, values, of=UUID)


async def keep_outputs(transaction: Transaction, runs: Sequence[UUID]) -> None:
    """Take it back that the outputs of these runs are gone."""
    await transaction.run(_KEEP_OUTPUTS, {"ids": list(runs)})


async def forget_events(transaction: Transaction, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` events older than a time, of runs that have ended; return how many."""
    return await transaction.one_value(_FORGET_EVENTS, {"before": before, "limit": limit}, of=int)


@dataclass(frozen=True, slots=True)
class OldRunRow:
    """A run whose time is over."""

    id: UUID
    batch_id: UUID | None


async def old_runs(
    transaction: Transaction, *, before: datetime, first_id: UUID, limit: int, aside: Sequence[UUID]
) -> list[OldRunRow]:
    """Lock and return up to `limit` runs that ended before a time and that nothing waits for any more.

    `first_id` is the smallest id that a run made at that time can have.
    """
    parameters = {"before": before, "first_id": first_id, "limit": limit, "aside": list(aside)}
    return await transaction.rows(_OLD_RUNS, parameters, row=OldRunRow)


async def remove_runs(transaction: Transaction, ids: Sequence[UUID], batches: Sequence[UUID]) -> None:
    """Delete runs with what belongs to them, and those of the batches that have no run left."""
    for statement in _BELONGINGS:
        await transaction.run(statement, {"ids": list(ids)})
    if batches:
        empty = await transaction.values(_EMPTY_BATCHES, {"ids": list(batches)}, of=UUID)
        for statement in _BATCHES:
            await transaction.run(statement, {"ids": empty})
