"""Removes files that came inside requests (`data:` URIs), some days after the last dispatch that named them.

Nobody sees these assets being made and nobody would delete them, so they go as the outputs of their runs do. Uploads
stay until someone deletes them, and so does an inline file that someone renamed or put into a folder.
"""

from datetime import datetime, timedelta

from runflow.assets import sweep_queries
from runflow.assets.purge import RESTORABLE_DAYS
from runflow.services import Services

BATCH = 50
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
    async with services.db.system() as connection:
        due = await sweep_queries.unused_since(connection, before=before, limit=BATCH)
        used = await sweep_queries.still_used(
            connection, due, restorable_days=RESTORABLE_DAYS, before=before + DISPATCH_TIME
        )
        await sweep_queries.note_use(connection, list(used))
        gone = [asset for asset in due if asset not in used]
        await sweep_queries.expire(connection, gone, grace_seconds=services.settings.output_url_seconds)
    return len(gone)
