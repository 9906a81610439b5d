"""Removes what is no longer needed: abandoned uploads, forgotten `data:` files, the objects of deleted assets."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from runflow.assets import queries
from runflow.assets.images.thumbnails import THUMBNAILS
from runflow.assets.uploads import ASSETS, UPLOAD_SECONDS, UPLOADS
from runflow.db.set_aside import RETENTION_SECONDS, SetAside
from runflow.web.services import Services

PURGE_BATCH = 50
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
    purged, aside = 0, SetAside("deleted asset", first_seconds=RETENTION_SECONDS)
    while True:
        async with services.db.system() as transaction:
            due = await queries.take_deleted(transaction, limit=PURGE_BATCH, again_seconds=TAKEN_SECONDS)
            used = await queries.still_used(transaction, [asset.id for asset in due], restorable_days=RESTORABLE_DAYS)
            await queries.keep(transaction, list(used), again_seconds=LOOK_AGAIN_SECONDS)
        free = []
        for asset in due:
            keys = [key for key in (asset.object_key, asset.thumbnail_key) if key]
            # One that fails is due again after `TAKEN_SECONDS`.
            if asset.id not in used and await aside.attempt(asset.id, services.storage.delete(keys)):
                free.append(asset)
        async with services.db.system() as transaction:
            await queries.note_purged(transaction, [asset.id for asset in free])
        purged += len(free)
        if len(due) < PURGE_BATCH:
            return purged


GRACE_SECONDS = 3600
"""A file that was sent in the last minute of its URL's life can still be confirmed for so long."""
UPLOADS_BATCH = 100


async def sweep_stale_uploads(services: Services) -> int:
    """Forget expired unconfirmed sessions with their bytes, and return how many there were.

    Also forgets confirmed ones after that time, and removes bytes that were sent again after the confirmation, and
    half-written files of processes that died.
    """
    storage, aside = services.storage, services.part(_uploads_aside)
    swept = 0
    while True:
        async with services.db.system() as transaction:
            stale = await queries.stale_uploads(
                transaction, grace_seconds=GRACE_SECONDS, limit=UPLOADS_BATCH, aside=aside.ids
            )
            # Before the commit: a process that dies, or storage that fails, leaves sessions that are found again.
            gone = [upload for upload in stale if await aside.attempt(upload, _remove_upload(services, upload))]
            await queries.forget_uploads(transaction, gone)
        swept += len(gone)
        if len(stale) < UPLOADS_BATCH:
            break
    while True:
        async with services.db.system() as transaction:
            done = await queries.forget_confirmed_uploads(transaction, grace_seconds=GRACE_SECONDS, limit=UPLOADS_BATCH)
        if done < UPLOADS_BATCH:
            break
    oldest = datetime.now(UTC) - timedelta(seconds=UPLOAD_SECONDS + GRACE_SECONDS)
    await storage.delete([key async for key in storage.list(UPLOADS, before=oldest)])
    await storage.sweep_abandoned()
    return swept


async def _remove_upload(services: Services, upload: UUID) -> None:
    storage = services.storage
    for place in (UPLOADS, ASSETS, THUMBNAILS):
        await storage.delete([key async for key in storage.list(f"{place}/{upload}")])


def _uploads_aside(_services: Services) -> SetAside:
    return SetAside("unconfirmed upload", first_seconds=RETENTION_SECONDS)


EXPIRY_BATCH = 50
DISPATCH_TIME = timedelta(hours=1)
"""Longer than it takes from noting the use of a file to the commit of the run that uses it."""


async def expire_inline_files(services: Services, now: datetime) -> int:
    """Delete one batch of inline files that nothing new named for `RUNFLOW_OUTPUT_RETENTION_DAYS`; return how many.

    Those that a run which has not ended or a version of a workflow needs are kept for as long again, and not counted.
    """
    days = services.settings.output_retention_days
    if days is None:
        return 0
    before = now - timedelta(days=days)
    async with services.db.system() as transaction:
        due = await queries.unused_since(transaction, before=before, limit=EXPIRY_BATCH)
        used = await queries.still_used(
            transaction, due, restorable_days=RESTORABLE_DAYS, before=before + DISPATCH_TIME
        )
        await queries.renew(transaction, list(used))
        gone = [asset for asset in due if asset not in used]
        await queries.expire(transaction, gone, grace_seconds=services.settings.output_url_seconds)
    return len(gone)
