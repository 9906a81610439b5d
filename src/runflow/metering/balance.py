"""The balance of the caller's organization (docs/api/metering.md): what its budget leaves it, and its low threshold."""

from decimal import ROUND_FLOOR
from typing import Any

from runflow import errors
from runflow.audit import recorder
from runflow.metering import budget_queries as queries
from runflow.metering.schemas import PatchBalance
from runflow.orgs import queries as orgs
from runflow.services import Services
from runflow.web.auth import Principal

CURRENCY = "USD"


async def get(services: Services, caller: Principal) -> dict[str, Any]:
    """Return the balance; its amounts are null where no budget was set."""
    async with services.db.tenant(caller.org_id) as connection:
        row = await queries.standing(connection, caller.org_id)
        own = await orgs.by_slug(connection, caller.org_slug)
    return record(caller, row, own)


async def patch(services: Services, caller: Principal, body: PatchBalance) -> dict[str, Any]:
    """Set the threshold. Raises `Conflict` when the balance was changed since `updated_at`."""
    threshold = body.low_balance_threshold
    async with services.db.tenant(caller.org_id) as connection:
        if not await queries.set_threshold(connection, caller.org_id, threshold, body.updated_at):
            raise errors.Conflict("The balance was changed since you read it. Read it again, then decide.")
        details = {"low_balance_threshold": None if threshold is None else str(threshold)}
        await recorder.record(connection, caller, "balance.updated", "balance", caller.org_id, details)
    return await get(services, caller)


async def credit_balances(services: Services, caller: Principal) -> dict[str, Any]:
    """Return the balance in the shape that some clients read."""
    found = await get(services, caller)
    one = {"org_id": found["org_id"], "balance": found["balance"], "balance_usd": found["balance"]}
    return {"items": [one | {"currency": CURRENCY}]}


def record(caller: Principal, row: Any | None, own: Any) -> dict[str, Any]:
    """Return a balance as the wire shows it. There is one per organization, so it has the organization's id."""
    of_budget = ("monthly_limit", "month_spent", "credit", "credit_spent")
    shown: dict[str, Any] = dict.fromkeys((*of_budget, "low_balance_threshold", "low_balance_notified_at"))
    left = None
    if row is not None:
        left = row.balance
        shown |= {name: row._mapping[name] for name in shown}
        shown["month_spent"] = None if row.monthly_limit is None else row.spent_this_month
        shown["credit_spent"] = None if row.credit is None else row.credit_spent
    return {
        "id": caller.org_id,
        "org_id": caller.org_id,
        "balance": left,
        "balance_cents": None if left is None else int((left * 100).to_integral_value(ROUND_FLOOR)),
        "currency": CURRENCY,
        "has_budget": left is not None,
        **shown,
        "created_at": own.created_at if row is None else row.created_at,
        "updated_at": own.updated_at if row is None else row.updated_at,
    }
