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
    connection: Transaction, org_id: UUID, *, monthly: Decimal | None, credit: Decimal | None
) -> dict[str, Any]:
    """Set a monthly limit, a credit, or both; None leaves one as it is. Returns the budget as it is now."""
    if monthly is not None:
        await queries.set_monthly(connection, org_id, monthly)
    if credit is not None:
        await queries.set_credit(connection, org_id, credit)
    amounts = {"monthly_limit": monthly, "credit": credit}
    details = {name: str(amount) for name, amount in amounts.items() if amount is not None}
    await recorder.record_operator(connection, org_id, "budget.set", "budget", org_id, details)
    await queries.announce_change(connection, BUDGET_TOPIC, org_id)
    return await budget(connection, org_id)


async def recount(connection: Transaction, org_id: UUID) -> dict[str, Any]:
    """Count anew what was spent this month, in a transaction after that of `grant`; return the budget as it is now.

    A run that was just being completed may have looked for a budget before there was one, and have been counted by
    nobody: whoever began before is waited for, at most `RECOUNT_SECONDS`. Whoever began since adds its cost itself.
    """
    monthly = await queries.monthly_limit(connection, org_id)
    if monthly is not None:
        for _ in range(int(RECOUNT_SECONDS / LOOK_SECONDS)):
            if not await queries.older_are_under_way(connection):
                break
            await asyncio.sleep(LOOK_SECONDS)
        await queries.set_monthly(connection, org_id, monthly)
        await queries.announce_change(connection, BUDGET_TOPIC, org_id)
    return await budget(connection, org_id)


async def clear(connection: Transaction, org_id: UUID) -> bool:
    """Let an organization spend as much as it likes; False when it could already."""
    if not await queries.clear(connection, org_id):
        return False
    await recorder.record_operator(connection, org_id, "budget.cleared", "budget", org_id)
    await queries.announce_change(connection, BUDGET_TOPIC, org_id)
    return True


async def budget(connection: Transaction, org_id: UUID) -> dict[str, Any]:
    """Return an organization's budget; without one every amount is None."""
    row = await queries.standing(connection, org_id)
    names = ("monthly_limit", "spent_this_month", "credit", "credit_spent", "balance", "low_balance_threshold")
    found = dict.fromkeys(names) if row is None else {name: row._mapping[name] for name in names}
    return {
        "org_id": org_id,
        "monthly_limit": found["monthly_limit"],
        "month_spent": None if found["monthly_limit"] is None else found["spent_this_month"],
        "credit": found["credit"],
        "credit_spent": None if found["credit"] is None else found["credit_spent"],
        "balance": found["balance"],
        "low_balance_threshold": found["low_balance_threshold"],
    }
