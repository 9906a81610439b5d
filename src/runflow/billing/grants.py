"""What the operator lets an organization spend: set on the command line, as the system role.

Every server process hears of it at the commit.
"""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

from runflow.accounts.audit import recorder
from runflow.billing import queries
from runflow.billing.settlement import BUDGET_TOPIC
from runflow.db.transaction import Transaction

RECOUNT_SECONDS = 10.0
"""Longer than it takes to complete a run; a sweep that takes minutes is not waited for."""
LOOK_SECONDS = 0.05


async def grant(
    transaction: Transaction, org_id: UUID, *, monthly: Decimal | None, credit: Decimal | None
) -> dict[str, Any]:
    """Set a monthly limit, a credit, or both; None leaves one as it is. Returns the budget as it is now."""
    if monthly is not None:
        await queries.set_monthly(transaction, org_id, monthly)
    if credit is not None:
        await queries.set_credit(transaction, org_id, credit)
    amounts = {"monthly_limit": monthly, "credit": credit}
    details = {name: str(amount) for name, amount in amounts.items() if amount is not None}
    await recorder.record_operator(transaction, org_id, "budget.set", "budget", org_id, details)
    await queries.announce_change(transaction, BUDGET_TOPIC, org_id)
    return await budget(transaction, org_id)


async def recount(transaction: Transaction, org_id: UUID) -> dict[str, Any]:
    """Count anew what was spent this month, in a transaction after that of `grant`; return the budget as it is now.

    A run that was just being completed may have looked for a budget before there was one, and have been counted by
    nobody: whoever began before is waited for, at most `RECOUNT_SECONDS`. Whoever began since adds its cost itself.
    """
    monthly = await queries.monthly_limit(transaction, org_id)
    if monthly is not None:
        for _ in range(int(RECOUNT_SECONDS / LOOK_SECONDS)):
            if not await queries.older_are_under_way(transaction):
                break
            await asyncio.sleep(LOOK_SECONDS)
        await queries.set_monthly(transaction, org_id, monthly)
        await queries.announce_change(transaction, BUDGET_TOPIC, org_id)
    return await budget(transaction, org_id)


async def clear(transaction: Transaction, org_id: UUID) -> bool:
    """Let an organization spend as much as it likes; False when it could already."""
    if not await queries.clear(transaction, org_id):
        return False
    await recorder.record_operator(transaction, org_id, "budget.cleared", "budget", org_id)
    await queries.announce_change(transaction, BUDGET_TOPIC, org_id)
    return True


async def budget(transaction: Transaction, org_id: UUID) -> dict[str, Any]:
    """Return an organization's budget; without one every amount is None."""
    row = await queries.standing(transaction, org_id)
    if row is None:
        names = ("monthly_limit", "month_spent", "credit", "credit_spent", "balance", "low_balance_threshold")
        return {"org_id": org_id, **dict.fromkeys(names)}
    return {
        "org_id": org_id,
        "monthly_limit": row.monthly_limit,
        "month_spent": None if row.monthly_limit is None else row.spent_this_month,
        "credit": row.credit,
        "credit_spent": None if row.credit is None else row.credit_spent,
        "balance": row.balance,
        "low_balance_threshold": row.low_balance_threshold,
    }
