"""Removes what uploads of models leave behind: sessions that nobody goes on with, and the parts of finished ones."""

from runflow.models import sweep_queries
from runflow.models.parts import STALE_SECONDS, parts_prefix, whole_prefix
from runflow.services import Services

CONFIRMED_SECONDS = 3600
"""For so long a confirmation whose answer was lost can be repeated."""
BATCH = 20


async def sweep_model_uploads(services: Services) -> int:
    """Forget up to `BATCH` stale sessions with their bytes, and return how many there were.

    Objects go before the commit that says so: a process that dies in between leaves sessions that are found again.
    """
    storage = services.storage
    async with services.db.system() as connection:
        stale = await sweep_queries.take_stale(
            connection, open_seconds=STALE_SECONDS, confirmed_seconds=CONFIRMED_SECONDS, limit=BATCH
        )
        for session in stale:
            await storage.delete([key async for key in storage.list(parts_prefix(session.id))])
            # A process that died while it put a model together left a file that no model names.
            wholes = [key async for key in storage.list(whole_prefix(session.org_id, session.sha256, session.id))]
            used = await sweep_queries.named(connection, wholes) if wholes else set()
            await storage.delete([key for key in wholes if key not in used])
    return len(stale)
