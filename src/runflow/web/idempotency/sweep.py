"""Forgets idempotency keys whose time is over."""

from runflow.db.database import Database
from runflow.web.idempotency import queries


async def sweep_idempotency_keys(db: Database) -> int:
    """Delete keys older than a day, of every organization; return how many there were."""
    async with db.system(durable=False) as transaction:
        return await queries.forget_old(transaction)
