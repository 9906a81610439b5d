"""Files that come inside a request become assets (docs/api/assets.md, "Uploads")."""

import asyncio
import io
import mimetypes
from uuid import UUID

from runflow.assets import queries
from runflow.assets.data_uri import MAX_DATA_URI_BYTES, parse_data_uri
from runflow.assets.images import check_image
from runflow.assets.kinds import asset_type, essence
from runflow.ids import new_id
from runflow.orgs.limits import require_storage
from runflow.services import Services
from runflow.storage.keys import segment
from runflow.storage.signing import DownloadGrant
from runflow.storage.store import StoredObject, not_found
from runflow.web.auth import Principal

UNKNOWN_TYPE = "application/octet-stream"


async def store_data_uri(services: Services, caller: Principal, data_uri: str, name: str) -> UUID:
    """Make an asset of a `data:` URI of at most 1 MiB and return its id.

    `name` becomes the file's name, with a suffix for its type where it has none. Its thumbnail is made when the asset
    is read: whoever dispatches a run is not kept waiting for it. Raises `ValidationFailed` for a URI that cannot be
    read, is too large, or holds an image that is none, `LimitReached` where the organization stores too much already.
    """
    mime_type, content = await asyncio.to_thread(_read_data_uri, data_uri)
    asset_id = new_id()
    filename = segment(name)
    if "." not in filename:
        filename += mimetypes.guess_extension(essence(mime_type)) or ""
    key = f"assets/{asset_id}/{segment(filename)}"
    stored = await services.storage.put(key, content, limit=MAX_DATA_URI_BYTES, content_type=mime_type)
    await _record(services, caller, asset_id, filename, mime_type, stored)
    return asset_id


async def store_copy(services: Services, caller: Principal, asset_id: UUID, source: DownloadGrant) -> None:
    """Make an asset with this new id of a file that this server stores already, such as an output of a run.

    It is kept and removed as one that came as a `data:` URI. Raises `NotFound` where the file is gone, `LimitReached`.
    """
    filename = segment(source.filename or source.key.rpartition("/")[2])
    key = f"assets/{asset_id}/{filename}"
    await services.storage.copy(source.key, key)
    stored = await services.storage.head(key)
    if stored is None:
        raise not_found()
    await _record(services, caller, asset_id, filename, source.content_type or UNKNOWN_TYPE, stored)


async def _record(
    services: Services, caller: Principal, asset_id: UUID, filename: str, mime_type: str, stored: StoredObject
) -> None:
    """Add the row of a file that was just stored; the file goes again where the row cannot be."""
    try:
        async with services.db.tenant(caller.org_id) as connection:
            await require_storage(connection, services.settings, caller.org_id, stored.size_bytes)
            await queries.add_asset(
                connection,
                id=asset_id,
                org_id=caller.org_id,
                name=filename,
                object_key=stored.key,
                mime_type=mime_type,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                asset_type=asset_type(mime_type),
                source_type=queries.INLINE,
                created_by=caller.key_id,
            )
    except BaseException:
        await services.storage.delete([stored.key])
        raise


def _read_data_uri(data_uri: str) -> tuple[str, bytes]:
    mime_type, content = parse_data_uri(data_uri)
    check_image(io.BytesIO(content), mime_type)
    return mime_type, content
