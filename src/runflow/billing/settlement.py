"""What an attempt's end adds to a run's cost and to its organization's budget, in the transaction that ends it.

The attempt's own usage row is written by `queries.finish`; here stands what only some runs need
(docs/api/metering.md, "What is metered").
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import structlog

from runflow.billing import queries
from runflow.billing.queries import Balances, LowBalance
from runflow.db.transaction import Fetched, Transaction
from runflow.web.services import Services

log = structlog.get_logger()

BUDGET_TOPIC = "budget"
"""Hint, with the organization's id: what it may spend changed, or was used up."""


class HeldAttempt(Protocol):
    """What is asked of an attempt that ends, and of its run, whose rows the caller has locked."""

    @property
    def org_id(self) -> UUID:
        """The organization that pays."""

    @property
    def run_id(self) -> UUID:
        """The run."""

    @property
    def lease_id(self) -> UUID:
        """The attempt."""

    @property
    def has_budget(self) -> bool:
        """Whether anything limits what the organization spends."""

    @property
    def cost(self) -> Decimal | None:
        """What the run cost before this attempt ended."""


@dataclass(frozen=True, slots=True)
class Charged:
    """What was sent to the database about a budget: two statements, whose rows `tell` reads after the commit."""

    org_id: UUID
    spent: Fetched[Balances]
    low: Fetched[LowBalance]

    async def tell(self, services: Services) -> None:
        """Let every process know of a budget that is used up now, and the operator of a low balance."""
        spent, low = await self.spent.fetchone(), await self.low.fetchone()
        if spent is not None and _is_used_up(spent):
            services.hub.publish(BUDGET_TOPIC, str(self.org_id))
            log.warning("budget used up", org_id=str(self.org_id), balance=str(spent.now_left))
        if low is not None:
            log.warning(
                "balance low",
                org_id=str(self.org_id),
                balance=str(low.now_left),
                threshold=str(low.low_balance_threshold),
            )


def _is_used_up(spent: Balances) -> bool:
    """Tell whether it was this charge that used a budget up."""
    if spent.now_left is None or spent.was_left is None:
        return False
    return spent.now_left <= 0 < spent.was_left


async def meter(transaction: Transaction, held: HeldAttempt, number: int, run_status: str) -> Charged | None:
    """Settle a run after `queries.finish` ended its attempt `number`. Sends statements, waits for none.

    A run of several attempts gets the sum of them; an attempt that ran out of memory is billed once a later one
    succeeds. Returns what to tell after the commit; None without a budget.
    """
    if number > 1:
        await queries.note_later_attempt(transaction, held.lease_id)
        if run_status == "succeeded":
            await queries.bill_out_of_memory(transaction, held.run_id)
        await queries.sum_attempts(transaction, held.run_id)
    if not held.has_budget:
        return None
    before = held.cost or Decimal(0)
    return Charged(
        held.org_id,
        await queries.charge(transaction, org=held.org_id, run=held.run_id, before=before),
        await queries.note_low_balance(transaction, held.org_id),
    )
