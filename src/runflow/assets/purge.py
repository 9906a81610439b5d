"""Removes the objects of deleted assets, once nobody needs them."""

from runflow.assets import sweep_queries
from runflow.services import Services

BATCH = 50
TAKEN_SECONDS = 3600
"""What a process that died was about to remove is due again after this."""
LOOK_AGAIN_SECONDS = 24 * 3600
"""How long an asset that is still needed is left alone."""
RESTORABLE_DAYS = 30
"""For so long after its deletion a workflow keeps the files that its versions name: it may be restored."""


async def purge_deleted_assets(services: Services) -> int:
    """Remove the objects of deleted assets that are due and not needed any more; return of how many assets.

    Needed by: a run of the organization that has not ended and names the asset, and every version of a workflow that
    names it as a resource or as a default.
    """
    purged = 0
    while True:
        async with services.db.system() as connection:
            due = await sweep_queries.take_deleted(connection, limit=BATCH, again_seconds=TAKEN_SECONDS)
            used = await sweep_queries.still_used(
                connection, [asset.id for asset in due], restorable_days=RESTORABLE_DAYS
            )
            await sweep_queries.keep(connection, list(used), again_seconds=LOOK_AGAIN_SECONDS)
        free = [asset for asset in due if asset.id not in used]
        await services.storage.delete([key for asset in free for key in (asset.object_key, asset.thumbnail_key) if key])
        async with services.db.system() as connection:
            await sweep_queries.note_purged(connection, [asset.id for asset in free])
        purged += len(free)
        if len(due) < BATCH:
            return purged
