"""SQL of what a run cost beyond its last attempt, and of the budget it is charged to; pipelined, when a run ends.

Both are rare: a run seldom has a second attempt, and only an operator's budget is counted. The lock order goes on from
`queries.py`: …, fair share, budget.
"""

from typing import Any
from uuid import UUID

from runflow.db.transaction import Fetched, Transaction

_NOT_FIRST = "UPDATE usage_records SET is_first = false WHERE attempt_id = %(lease)s"

_BILL_OUT_OF_MEMORY = """
    UPDATE usage_records u SET is_billable = true FROM run_attempts a
    WHERE u.run_id = %(run)s AND a.id = u.attempt_id AND a.failure_code = 'OUT_OF_MEMORY'
"""

_SUM_ATTEMPTS = """
    UPDATE runs r SET cost = u.cost, gpu_seconds = u.gpu_seconds,
        cost_breakdown = cost_breakdown(u.gpu_code, u.price, u.prepare, u.load, u.execute, u.billable, u.attempts)
    FROM (
        SELECT (array_agg(gpu_code ORDER BY created_at DESC))[1] AS gpu_code,
               (array_agg(price_per_second ORDER BY created_at DESC))[1] AS price, sum(prepare_seconds) AS prepare,
               sum(load_seconds) AS load, sum(execute_seconds) AS execute, sum(billable_seconds) AS billable,
               sum(gpu_seconds) AS gpu_seconds, sum(cost) AS cost, count(*) AS attempts
        FROM usage_records WHERE run_id = %(run)s
    ) AS u WHERE r.id = %(run)s
"""


async def note_later_attempt(connection: Transaction, lease: UUID) -> None:
    """Say of an attempt's usage that it is not of the first one: its run is counted there."""
    await connection.run(_NOT_FIRST, {"lease": lease})


async def bill_out_of_memory(connection: Transaction, run: UUID) -> None:
    """Make a run's out-of-memory attempts billable: a later one succeeded (docs/api/metering.md)."""
    await connection.run(_BILL_OUT_OF_MEMORY, {"run": run})


async def sum_attempts(connection: Transaction, run: UUID) -> None:
    """Write the cost of a run anew from all its attempts; GPU and price are those of the last one."""
    await connection.run(_SUM_ATTEMPTS, {"run": run})


_CHARGE = """
    UPDATE budgets b SET month = month_of(now()),
        month_spent = CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END + c.cost,
        credit_spent = b.credit_spent + c.cost,
        low_balance_notified_at = CASE WHEN b.month = month_of(now()) OR b.monthly_limit IS NULL
                                  THEN b.low_balance_notified_at END
    FROM (SELECT coalesce(cost, 0) - %(before)s AS cost FROM runs WHERE id = %(run)s) AS c WHERE b.org_id = %(org)s
    RETURNING budget_left(b) AS now_left, budget_left(b) + c.cost AS was_left
"""

_NOTE_LOW = """
    UPDATE budgets b SET low_balance_notified_at = clock_timestamp()
    WHERE b.org_id = %(org)s AND b.low_balance_notified_at IS NULL AND budget_left(b) < b.low_balance_threshold
    RETURNING budget_left(b) AS now_left, b.low_balance_threshold
"""


async def charge(connection: Transaction, *, org: UUID, run: UUID, before: Any) -> Fetched:
    """Count what a run's cost rose by, from `before`, against its organization's budget.

    The cursor gives `now_left` and `was_left` in USD, null without a limit.
    """
    return await connection.later(_CHARGE, {"org": org, "run": run, "before": before})


async def note_low_balance(connection: Transaction, org: UUID) -> Fetched:
    """Remember that the balance fell below its threshold; the cursor has a row when it did so just now."""
    return await connection.later(_NOTE_LOW, {"org": org})
