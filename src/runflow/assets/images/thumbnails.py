"""Small pictures of images, for lists of assets: WebP of at most 512 pixels a side, made once, stored as an object."""

from uuid import UUID

import structlog

from runflow import errors
from runflow.assets.images.drawing_process import MAX_THUMBNAIL_BYTES, Busy
from runflow.assets.media_types import AssetType, asset_type
from runflow.web.services import Services

log = structlog.get_logger()

THUMBNAILS = "thumbnails"
MAX_SOURCE_BYTES = 64 * 1024 * 1024
NONE = ""
"""Instead of a key: no thumbnail can be made of this asset, so it is not tried again."""


async def make(services: Services, asset_id: UUID, object_key: str, mime_type: str, size_bytes: int) -> str:
    """Make and store the thumbnail of an asset; return its key, or `NONE` where there can be none.

    Never raises for an image that cannot be read. Raises `Busy` while other pictures are drawn, `Unavailable` when
    storage fails, `NotFound` when the object is gone.
    """
    if asset_type(mime_type) is not AssetType.IMAGE or size_bytes > MAX_SOURCE_BYTES:
        return NONE
    small = await services.drawing.draw(await services.storage.open(object_key), size_bytes)
    if small is None:
        log.info("no thumbnail can be made", asset_id=str(asset_id))
        return NONE
    key = f"{THUMBNAILS}/{asset_id}/thumbnail.webp"
    await services.storage.put(key, small, limit=MAX_THUMBNAIL_BYTES, content_type="image/webp")
    return key


async def make_or_go_without(
    services: Services, asset_id: UUID, object_key: str, mime_type: str, size_bytes: int
) -> str | None:
    """Do the same, but return None where storage fails or others are before it: no reason to refuse a file."""
    try:
        return await make(services, asset_id, object_key, mime_type, size_bytes)
    except Busy:
        return None
    except errors.RunflowError as error:
        log.warning("no thumbnail", asset_id=str(asset_id), error=error.message)
        return None
