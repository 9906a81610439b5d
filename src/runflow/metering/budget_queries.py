"""SQL of budgets. What runs cost is added by the completing transactions, see `runs/queue/usage_queries.py`."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.db.notifications import CHANNEL

_STANDING = text("""
    SELECT b.*, budget_left(b) AS balance, month_of(now()) AS this_month,
           CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END AS spent_this_month
    FROM budgets b WHERE b.org_id = :org
""")

# Zero rows or one: a lost update would be a threshold that somebody else has just set.
_SET_THRESHOLD = text("""
    INSERT INTO budgets AS b (org_id, low_balance_threshold) VALUES (:org, :threshold)
    ON CONFLICT (org_id) DO UPDATE SET low_balance_threshold = excluded.low_balance_threshold,
        low_balance_notified_at = NULL, updated_at = now()
    WHERE CAST(:read_at AS timestamptz) IS NULL OR b.updated_at = :read_at
    RETURNING b.org_id
""")

# Whoever completes a run meanwhile waits, and adds its cost afterwards: none is lost between reading and writing.
_LOCK = text("SELECT 1 FROM budgets WHERE org_id = :org FOR UPDATE")

_SPENT_THIS_MONTH = text("""
    SELECT (SELECT coalesce(sum(cost), 0) FROM usage_records
            WHERE org_id = :org AND created_at >= date_trunc('month', now(), 'UTC'))
         + (SELECT coalesce(sum(cost), 0) FROM evaluations
            WHERE org_id = :org AND completed_at >= date_trunc('month', now(), 'UTC'))
""")

_SET_MONTHLY = text("""
    INSERT INTO budgets AS b (org_id, monthly_limit, month_spent) VALUES (:org, :amount, :spent)
    ON CONFLICT (org_id) DO UPDATE SET monthly_limit = excluded.monthly_limit, month = month_of(now()),
        month_spent = excluded.month_spent, low_balance_notified_at = NULL, updated_at = now()
""")

_MONTHLY_LIMIT = text("SELECT monthly_limit FROM budgets WHERE org_id = :org")

# What a transaction sees of others' activity is remembered until it is cleared.
_FORGET_ACTIVITY = text("SELECT pg_stat_clear_snapshot()")
_OLDER = text("""
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
          AND xact_start < now())
""")

_SET_CREDIT = text("""
    INSERT INTO budgets AS b (org_id, credit) VALUES (:org, :amount)
    ON CONFLICT (org_id) DO UPDATE SET credit = excluded.credit, credit_spent = 0, low_balance_notified_at = NULL,
        updated_at = now()
""")

_CLEAR = text("""
    UPDATE budgets SET monthly_limit = NULL, credit = NULL, credit_spent = 0, low_balance_notified_at = NULL,
        updated_at = now()
    WHERE org_id = :org AND (monthly_limit IS NOT NULL OR credit IS NOT NULL)
""")


async def standing(connection: AsyncConnection, org_id: UUID) -> Row[Any] | None:
    """Return an organization's budget row with `balance`, `this_month` and `spent_this_month`."""
    return (await connection.execute(_STANDING, {"org": org_id})).one_or_none()


async def set_threshold(
    connection: AsyncConnection, org_id: UUID, threshold: Decimal | None, read_at: Any | None
) -> bool:
    """Set the threshold below which the balance is low; False when the row changed after `read_at`."""
    values = {"org": org_id, "threshold": threshold, "read_at": read_at}
    return (await connection.execute(_SET_THRESHOLD, values)).one_or_none() is not None


async def set_monthly(connection: AsyncConnection, org_id: UUID, amount: Decimal) -> None:
    """Limit what an organization spends per UTC month; what it spent in this one counts, evaluations included."""
    await connection.execute(_LOCK, {"org": org_id})
    spent = (await connection.execute(_SPENT_THIS_MONTH, {"org": org_id})).scalar_one()
    await connection.execute(_SET_MONTHLY, {"org": org_id, "amount": amount, "spent": spent})


async def monthly_limit(connection: AsyncConnection, org_id: UUID) -> Decimal | None:
    """Return what an organization may spend per month; None without such a limit."""
    found: Decimal | None = (await connection.execute(_MONTHLY_LIMIT, {"org": org_id})).scalar_one_or_none()
    return found


async def older_are_under_way(connection: AsyncConnection) -> bool:
    """Tell whether a transaction of this role that began before this one has not ended."""
    await connection.execute(_FORGET_ACTIVITY)
    return bool((await connection.execute(_OLDER)).scalar_one())


async def set_credit(connection: AsyncConnection, org_id: UUID, amount: Decimal) -> None:
    """Let an organization spend this much from now on."""
    await connection.execute(_SET_CREDIT, {"org": org_id, "amount": amount})


async def clear(connection: AsyncConnection, org_id: UUID) -> bool:
    """Take every limit away; False when there was none. The threshold stays."""
    return (await connection.execute(_CLEAR, {"org": org_id})).rowcount > 0


async def announce_change(connection: AsyncConnection, topic: str, org_id: UUID) -> None:
    """Tell every server process at the commit: a command has no hub of its own."""
    message = orjson.dumps([[topic, str(org_id)]]).decode()
    await connection.execute(text("SELECT pg_notify(:channel, :message)"), {"channel": CHANNEL, "message": message})
