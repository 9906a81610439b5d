"""Whether an organization may dispatch: always, unless the operator set a budget and it is used up.

What is queued or running when a budget runs out is finished, so an organization can overspend by what it had accepted.
This is asked at every dispatch, so the answer is remembered: a change of a budget, and a completion that uses one up,
are heard of as hints on the topic "budget". While hints cannot arrive, every dispatch asks the database.
"""

from datetime import date
from decimal import Decimal
from uuid import UUID

from runflow import errors
from runflow.billing import queries
from runflow.billing.queries import Standing
from runflow.billing.settlement import BUDGET_TOPIC
from runflow.db.hint_cache import HintCache
from runflow.web.services import Services

REMEMBER_SECONDS = 10.0
"""Longest that an organization is let through, should a hint be lost without the connection breaking."""
REFUSE_SECONDS = 1.0
"""Longest that it is refused without a new look: a new month begins without a hint."""
MAX_REMEMBERED = 10_000


async def require_credit(services: Services, org_id: UUID) -> None:
    """Raise `InsufficientCredit` when the operator set a budget for this organization and it is used up."""

    async def read() -> str:
        async with services.db.tenant(org_id) as transaction:
            row = await queries.standing(transaction, org_id)
        return refusal(row)

    known = await services.part(_cache).get(org_id, read)
    if known:
        raise errors.InsufficientCredit(known)


def refusal(row: Standing | None) -> str:
    """Return why an organization with this budget may not dispatch, with the next step; empty when it may."""
    if row is None or row.balance is None or row.balance > 0:
        return ""
    if row.monthly_limit is not None and row.monthly_limit <= row.spent_this_month:
        year, month = row.this_month.year, row.this_month.month
        following = date(year + month // 12, month % 12 + 1, 1)
        return (
            f"The budget of {dollars(row.monthly_limit)} for this month is used up: {dollars(row.spent_this_month)} "
            f"were spent. Wait until {following.isoformat()} (UTC), or ask the operator to raise it "
            "(`runflow budget set ORGANIZATION --monthly USD`)."
        )
    return (
        f"The credit of {dollars(row.credit or Decimal(0))} is used up: {dollars(row.credit_spent)} were spent. "
        "Ask the operator for more (`runflow budget set ORGANIZATION --credit USD`)."
    )


def dollars(amount: Decimal) -> str:
    """Return an amount for a sentence: cents, or more digits where they matter."""
    shown = f"{amount:.6f}".rstrip("0")
    whole, _, fraction = shown.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')} USD"


def _cache(services: Services) -> HintCache[UUID, str]:
    """Return the cache of refusals by organization, empty for those that may dispatch."""
    return HintCache(
        services.hub,
        BUDGET_TOPIC,
        lives=lambda refused: REFUSE_SECONDS if refused else REMEMBER_SECONDS,
        most=MAX_REMEMBERED,
        subject_of=lambda org_id, _: str(org_id),
    )
