"""Cancelling a run at once, whatever state it is in: the same way for one run and for the items of a batch."""

from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.protocol.failures import TERMINAL
from runflow.queue import completion_queries
from runflow.queue.ending import Ending, run_ended, something_follows
from runflow.web.services import Services


async def cancel_run(
    services: Services, transaction: Transaction, *, org_id: UUID, run_id: UUID, reason: str | None
) -> bool | None:
    """Make a run of this organization `cancelled`, with everything that follows; call `announce` after the commit.

    Its worker hears of it with the next heartbeat and stops exactly that prompt. Returns None when there is no such
    run, False when it had ended already.
    """
    run = await completion_queries.for_cancellation(transaction, run_id)
    if run is None or run.org_id != org_id:
        return None
    if run.run_status in TERMINAL:
        return False
    ended = await completion_queries.cancel(
        transaction, run=run_id, lane=run.lane_id, queued=run.run_status == "queued", reason=reason
    )
    if something_follows(services, run):
        await run_ended(services, transaction, Ending(run, "cancelled", ended))
    return True


def announce(services: Services, run_ids: list[UUID]) -> None:
    """Tell who waits for these runs, and the outbox, that they were cancelled."""
    for run_id in run_ids:
        services.hub.publish("run", str(run_id))
        services.hub.publish("cancelled", str(run_id))
    services.hub.publish("delivery")
