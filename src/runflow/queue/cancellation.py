"""Cancelling a run at once, whatever state it is in: the same way for one run and for the items of a batch."""

from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.protocol.failures import TERMINAL
from runflow.queue import queries
from runflow.queue.ending import Ending, run_ended, something_follows
from runflow.web.services import Services


async def cancel_run(
    services: Services, connection: Transaction, *, org_id: UUID, run_id: UUID, reason: str | None
) -> bool | None:
    """Make a run of this organization `cancelled`, with everything that follows; call `announce` after the commit.

    Its worker hears of it with the next heartbeat and stops exactly that prompt. Returns None when there is no such
    run, False when it had ended already.
    """
    run = await queries.for_cancellation(connection, run_id)
    if run is None or run.org_id != org_id:
        return None
    if run.status_code in TERMINAL:
        return False
    ended = await queries.cancel(
        connection, run=run_id, lane=run.lane_id, queued=run.status_code == "queued", reason=reason
    )
    if something_follows(services, run):
        await run_ended(services, connection, Ending(run, "cancelled", ended))
    return True


def announce(services: Services, run_ids: list[UUID]) -> None:
    """Tell who waits for these runs, and the outbox, that they were cancelled."""
    for run_id in run_ids:
        services.hub.publish("run", str(run_id))
        services.hub.publish("cancelled", str(run_id))
    services.hub.publish("delivery")
