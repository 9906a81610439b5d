"""Removing deliveries whose time is over. What is still to be delivered stays, however old it is."""

from runflow.db.transaction import Transaction
from runflow.web.services import Services

BATCH = 1000

# Attempts refer to deliveries; both go in one statement, at whose end the reference is checked. Rows that somebody
# works on are left for the next time.
_REMOVE = """
WITH old AS (
    SELECT id FROM deliveries WHERE status_code <> 'pending' AND completed_at < now() - make_interval(days => %(days)s)
    ORDER BY completed_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
), tried AS (
    DELETE FROM delivery_attempts a USING old WHERE a.delivery_id = old.id
)
DELETE FROM deliveries d USING old WHERE d.id = old.id
"""


async def sweep_deliveries(services: Services) -> int:
    """Remove a batch of deliveries that ended `RUNFLOW_EVENT_RETENTION_DAYS` ago; return how many, 0: none is left."""
    days = services.settings.event_retention_days
    if days is None:
        return 0
    async with services.db.system() as transaction:
        return await remove_old_deliveries(transaction, days)


async def remove_old_deliveries(transaction: Transaction, days: int, most: int = BATCH) -> int:
    """Remove at most `most` deliveries that ended more than `days` days ago, with their attempts; return how many."""
    return await transaction.change(_REMOVE, {"days": days, "most": most})
