"""Time that passes for the files of callers, and what is left of them in the storage."""

import os
import time
from pathlib import Path

from runflow.web.services import Services


async def later(services: Services, asset_id: str, seconds: float) -> None:
    """Let time pass for this deleted asset."""
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE assets SET purge_at = purge_at - make_interval(secs => %(seconds)s) WHERE id = %(id)s",
            {"seconds": seconds, "id": asset_id},
        )


async def age(services: Services, upload_id: str, hours: int) -> None:
    """Make a session and its bytes older."""
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE asset_uploads SET expires_at = expires_at - make_interval(hours => %(hours)s) WHERE id = %(id)s",
            {"hours": hours, "id": upload_id},
        )
    folder: Path = services.settings.storage_dir / "uploads" / upload_id
    then = time.time() - hours * 3600
    for path in folder.glob("*"):
        os.utime(path, (then, then))


async def keys(services: Services, asset_id: str) -> int:
    """How many objects it has: itself and its thumbnail."""
    return len(
        [key for place in ("assets", "thumbnails") async for key in services.storage.list(f"{place}/{asset_id}")]
    )
