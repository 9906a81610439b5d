"""SQL of budgets and usage: as their organization reads them, and as the end of an attempt writes them.

The lock order goes on from `queue/queries.py`: …, fair share, budget.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    DateTime,
    String,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
)

from runflow.billing.tables import usage_records as u
from runflow.db.notifications import CHANNEL
from runflow.db.transaction import Fetched, Transaction
from runflow.web.period import Period

_STANDING = """
    SELECT b.monthly_limit, b.credit, b.credit_spent, b.low_balance_threshold, b.low_balance_notified_at, b.created_at,
           b.updated_at, budget_left(b) AS balance, month_of(now()) AS this_month,
           CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END AS spent_this_month
    FROM budgets b WHERE b.org_id = %(org)s
"""

# Zero rows or one: a lost update would be a threshold that somebody else has just set.
_SET_THRESHOLD = """
    INSERT INTO budgets AS b (org_id, low_balance_threshold) VALUES (%(org)s, %(threshold)s)
    ON CONFLICT (org_id) DO UPDATE SET low_balance_threshold = excluded.low_balance_threshold,
        low_balance_notified_at = NULL, updated_at = now()
    WHERE CAST(%(read_at)s AS timestamptz) IS NULL OR b.updated_at = %(read_at)s
"""

# Whoever completes a run meanwhile waits, and adds its cost afterwards: none is lost between reading and writing.
_LOCK = "SELECT 1 FROM budgets WHERE org_id = %(org)s FOR UPDATE"

_SPENT_THIS_MONTH = """
    SELECT (SELECT coalesce(sum(cost), 0) FROM usage_records
            WHERE org_id = %(org)s AND created_at >= date_trunc('month', now(), 'UTC'))
         + (SELECT coalesce(sum(cost), 0) FROM evaluations
            WHERE org_id = %(org)s AND completed_at >= date_trunc('month', now(), 'UTC'))
"""

_SET_MONTHLY = """
    INSERT INTO budgets AS b (org_id, monthly_limit, month_spent) VALUES (%(org)s, %(amount)s, %(spent)s)
    ON CONFLICT (org_id) DO UPDATE SET monthly_limit = excluded.monthly_limit, month = month_of(now()),
        month_spent = excluded.month_spent, low_balance_notified_at = NULL, updated_at = now()
"""

_MONTHLY_LIMIT = "SELECT monthly_limit FROM budgets WHERE org_id = %(org)s"

# What a transaction sees of others' activity is remembered until it is cleared.
_FORGET_ACTIVITY = "SELECT pg_stat_clear_snapshot()"
_OLDER = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
          AND xact_start < now())
"""

_SET_CREDIT = """
    INSERT INTO budgets AS b (org_id, credit) VALUES (%(org)s, %(amount)s)
    ON CONFLICT (org_id) DO UPDATE SET credit = excluded.credit, credit_spent = 0, low_balance_notified_at = NULL,
        updated_at = now()
"""

_CLEAR = """
    UPDATE budgets SET monthly_limit = NULL, credit = NULL, credit_spent = 0, low_balance_notified_at = NULL,
        updated_at = now()
    WHERE org_id = %(org)s AND (monthly_limit IS NOT NULL OR credit IS NOT NULL)
"""

_NOTIFY = "SELECT pg_notify(%(channel)s, %(message)s)"


@dataclass(frozen=True, slots=True)
class Standing:
    """What an organization may spend, what it has spent of it, and its `balance`: the smaller of the two rests."""

    monthly_limit: Decimal | None
    credit: Decimal | None
    credit_spent: Decimal
    low_balance_threshold: Decimal | None
    low_balance_notified_at: datetime | None
    created_at: datetime
    updated_at: datetime
    balance: Decimal | None
    this_month: date
    spent_this_month: Decimal


async def standing(transaction: Transaction, org_id: UUID) -> Standing | None:
    """Return how an organization stands with its budget; None without one."""
    return await transaction.first(_STANDING, {"org": org_id}, row=Standing)


async def set_threshold(
    transaction: Transaction, org_id: UUID, threshold: Decimal | None, read_at: datetime | None
) -> bool:
    """Set the threshold below which the balance is low; False when the row changed after `read_at`."""
    values = {"org": org_id, "threshold": threshold, "read_at": read_at}
    return await transaction.change(_SET_THRESHOLD, values) > 0


async def set_monthly(transaction: Transaction, org_id: UUID, amount: Decimal) -> None:
    """Limit what an organization spends per UTC month; what it spent in this one counts, evaluations included."""
    await transaction.run(_LOCK, {"org": org_id})
    spent = await transaction.one_value(_SPENT_THIS_MONTH, {"org": org_id}, of=Decimal)
    await transaction.run(_SET_MONTHLY, {"org": org_id, "amount": amount, "spent": spent})


async def monthly_limit(transaction: Transaction, org_id: UUID) -> Decimal | None:
    """Return what an organization may spend per month; None without such a limit."""
    return await transaction.value(_MONTHLY_LIMIT, {"org": org_id}, of=Decimal)


async def older_are_under_way(transaction: Transaction) -> bool:
    """Tell whether a transaction of this role that began before this one has not ended."""
    await transaction.run(_FORGET_ACTIVITY)
    return await transaction.one_value(_OLDER, of=bool)


async def set_credit(transaction: Transaction, org_id: UUID, amount: Decimal) -> None:
    """Let an organization spend this much from now on."""
    await transaction.run(_SET_CREDIT, {"org": org_id, "amount": amount})


async def clear(transaction: Transaction, org_id: UUID) -> bool:
    """Take every limit away; False when there was none. The threshold stays."""
    return await transaction.change(_CLEAR, {"org": org_id}) > 0


async def announce_change(transaction: Transaction, topic: str, org_id: UUID) -> None:
    """Tell every server process at the commit: a command has no hub of its own."""
    message = orjson.dumps([[topic, str(org_id)]]).decode()
    await transaction.run(_NOTIFY, {"channel": CHANNEL, "message": message})


_TIME = DateTime(timezone=True)


class Group(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    WORKFLOW = "workflow"
    API_KEY = "api_key"
    GPU = "gpu"


KEYS: dict[Group, ColumnElement[Any]] = {
    Group.DAY: func.date_trunc("day", u.c.created_at, "UTC", type_=_TIME).label("day"),
    Group.WORKFLOW: u.c.comfyui_workflow_id.label("comfyui_workflow_id"),
    Group.API_KEY: u.c.api_key_id.label("api_key_id"),
    Group.GPU: u.c.gpu_code.label("gpu_code"),
}
"""The column of each grouping, under its name in the answer."""

_SUMS: tuple[ColumnElement[Any], ...] = (
    func.count().filter(u.c.is_first).label("runs"),
    func.count().label("attempts"),
    func.coalesce(func.sum(u.c.gpu_seconds), 0).label("gpu_seconds"),
    func.coalesce(func.sum(u.c.billable_seconds), 0).label("billable_seconds"),
    func.coalesce(func.sum(u.c.cost), 0).label("cost"),
)
_IN_PERIOD = (u.c.created_at >= bindparam("start", type_=_TIME)) & (u.c.created_at < bindparam("end", type_=_TIME))


@lru_cache
def grouped(groups: tuple[Group, ...]) -> Subquery:
    """Return usage by these groups as a table with a unique text `id`; its parameters are `start` and `end`."""
    keys = [KEYS[group] for group in groups]
    parts = [func.coalesce(cast(key.element, Text), "-") for key in keys]
    row_id = func.concat_ws(literal(" ", String), *parts).label("id")
    statement = select(row_id, *keys, *_SUMS).where(_IN_PERIOD)
    return statement.group_by(*(key.element for key in keys)).subquery("usage")


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """The sums of some usage."""

    runs: int
    attempts: int
    gpu_seconds: Decimal
    billable_seconds: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup(UsageTotals):
    """A row of `grouped`; what was not grouped by is None."""

    id: str
    day: datetime | None = None
    comfyui_workflow_id: UUID | None = None
    api_key_id: UUID | None = None
    gpu_code: str | None = None


def of_period(period: Period) -> dict[str, Any]:
    """Return the parameters of a statement over `grouped`."""
    return {"start": period.start, "end": period.end}


async def totals(transaction: Transaction, period: Period) -> UsageTotals:
    """Return the sums over the whole period."""
    return await transaction.one(select(*_SUMS).where(_IN_PERIOD), of_period(period), row=UsageTotals)


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


async def note_later_attempt(transaction: Transaction, lease: UUID) -> None:
    """Say of an attempt's usage that it is not of the first one: its run is counted there."""
    await transaction.run(_NOT_FIRST, {"lease": lease})


async def bill_out_of_memory(transaction: Transaction, run: UUID) -> None:
    """Make a run's out-of-memory attempts billable: a later one succeeded (docs/api/metering.md)."""
    await transaction.run(_BILL_OUT_OF_MEMORY, {"run": run})


async def sum_attempts(transaction: Transaction, run: UUID) -> None:
    """Write the cost of a run anew from all its attempts; GPU and price are those of the last one."""
    await transaction.run(_SUM_ATTEMPTS, {"run": run})


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


@dataclass(frozen=True, slots=True)
class Balances:
    """What was left of a budget before and after a charge, in USD; None without a limit."""

    now_left: Decimal | None
    was_left: Decimal | None


@dataclass(frozen=True, slots=True)
class LowBalance:
    """A balance that fell below its threshold just now, in USD."""

    now_left: Decimal
    low_balance_threshold: Decimal


async def charge(transaction: Transaction, *, org: UUID, run: UUID, before: Decimal) -> Fetched[Balances]:
    """Count what a run's cost rose by, from `before`, against its organization's budget."""
    return await transaction.later(_CHARGE, {"org": org, "run": run, "before": before}, row=Balances)


async def note_low_balance(transaction: Transaction, org: UUID) -> Fetched[LowBalance]:
    """Remember that the balance fell below its threshold; there is a row to fetch when it did so just now."""
    return await transaction.later(_NOTE_LOW, {"org": org}, row=LowBalance)
