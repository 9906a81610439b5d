"""Removes what uploads leave behind: sessions nobody confirmed, and bytes that belong to no asset."""

from datetime import UTC, datetime, timedelta

from runflow.assets import sweep_queries
from runflow.assets.thumbnails import THUMBNAILS
from runflow.assets.uploads import ASSETS, UPLOAD_SECONDS, UPLOADS
from runflow.services import Services

GRACE_SECONDS = 3600
"""A file that was sent in the last minute of its URL's life can still be confirmed for so long."""
BATCH = 100


async def sweep_stale_uploads(services: Services) -> int:
    """Forget expired unconfirmed sessions with their bytes, and return how many there were.

    Also forgets confirmed ones after that time, and removes bytes that were sent again after the confirmation, and
    half-written files of processes that died.
    """
    storage = services.storage
    swept = 0
    while True:
        async with services.db.system() as connection:
            stale = await sweep_queries.take_stale_uploads(connection, grace_seconds=GRACE_SECONDS, limit=BATCH)
            # Before the commit: a process that dies, or storage that fails, leaves sessions that are found again.
            for session in stale:
                for place in (UPLOADS, ASSETS, THUMBNAILS):
                    await storage.delete([key async for key in storage.list(f"{place}/{session.id}")])
        swept += len(stale)
        if len(stale) < BATCH:
            break
    while True:
        async with services.db.system() as connection:
            done = await sweep_queries.forget_confirmed_uploads(connection, grace_seconds=GRACE_SECONDS, limit=BATCH)
        if done < BATCH:
            break
    oldest = datetime.now(UTC) - timedelta(seconds=UPLOAD_SECONDS + GRACE_SECONDS)
    await storage.delete([key async for key in storage.list(UPLOADS, before=oldest)])
    await storage.sweep_abandoned()
    return swept
