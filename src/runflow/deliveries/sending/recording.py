"""What an attempt leaves behind: its row, the delivery's next state, the health of the webhook."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from runflow.db.transaction import Transaction
from runflow.deliveries.sending import queries
from runflow.deliveries.sending.health import SwitchOff, judge
from runflow.deliveries.sending.outcome import Outcome
from runflow.deliveries.sending.queries import Claim
from runflow.deliveries.sending.schedule import Decision, GiveUp, Retry

log = structlog.get_logger()


async def record(
    transaction: Transaction, held: Claim, outcome: Outcome, decision: Decision, secret_ids: Sequence[UUID]
) -> Decision | None:
    """Record an attempt; return what follows from it. None: the claim was lost, and nothing was changed.

    A webhook that is off gets no further attempt, whatever was decided. `secret_ids` name the callback secrets that
    signed, the one of `Runflow-Signature` first.
    """
    if held.webhook_id is None:
        return decision if await queries.finish(transaction, held, outcome, decision, secret_ids) else None
    if outcome.reason is None:
        await queries.note_success(transaction, held.webhook_id)
        return decision if await queries.finish(transaction, held, outcome, decision, ()) else None
    noted = await queries.note_failure(transaction, held.webhook_id, held)
    off = judge(outcome, noted.health) if noted is not None and not noted.is_off else None
    if isinstance(decision, Retry) and (off is not None or noted is None or noted.is_off):
        decision = GiveUp(decision.reason, f"{decision.detail} The webhook is off, so it is not tried again.")
    if not await queries.finish(transaction, held, outcome, decision, ()):
        return None
    if off is not None:
        await _switch_off(transaction, held.webhook_id, off)
    return decision


async def _switch_off(transaction: Transaction, webhook_id: UUID, off: SwitchOff) -> None:
    await queries.switch_off(transaction, webhook_id, off)
    log.warning("webhook switched off", webhook_id=str(webhook_id), reason=off.code.value, detail=off.reason)
