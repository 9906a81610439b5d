"""Rules of assets: reading them, resolving references, and files that come inline."""

import asyncio
import io
import mimetypes
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.assets import queries
from runflow.assets.data_uri import MAX_DATA_URI_BYTES, parse_data_uri
from runflow.assets.images import check_image
from runflow.assets.kinds import asset_type, essence
from runflow.assets.record import EMBEDS, record
from runflow.assets.schemas import AssetRecord
from runflow.assets.sweep import sweep_stale_uploads
from runflow.ids import new_id
from runflow.services import Services
from runflow.storage.keys import segment
from runflow.web.auth import Principal
from runflow.web.lists import RecordQuery, check_projection, project


@dataclass(frozen=True, slots=True)
class AssetFile:
    """What a run needs to know of an asset's file."""

    id: UUID
    object_key: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None


async def get(services: Services, caller: Principal, asset_id: UUID, query: RecordQuery, base: str) -> dict[str, Any]:
    """Return an asset's record. Raises `AssetNotFound`, `InvalidField`."""
    check_projection(query, AssetRecord.model_fields, EMBEDS)
    async with services.db.tenant(caller.org_id) as connection:
        asset = await queries.get_asset(connection, asset_id)
    if asset is None:
        raise errors.AssetNotFound
    return project(record(asset, services, base), query)


async def resolve(connection: AsyncConnection, refs: Collection[UUID]) -> dict[UUID, AssetFile]:
    """Return the files of these assets, in the caller's tenant transaction, by one query.

    Unknown, deleted and foreign ones are absent from the answer.
    """
    if not refs:
        return {}
    return {
        row["id"]: AssetFile(
            id=row["id"],
            object_key=row["object_key"],
            filename=row["name"],
            mime_type=row["mime_type"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
        )
        for row in await queries.get_files(connection, set(refs))
    }


async def store_data_uri(services: Services, caller: Principal, data_uri: str, name: str) -> UUID:
    """Make an asset of a `data:` URI of at most 1 MiB and return its id (decisions.md, "Dispatch and values").

    `name` becomes the file's name, with a suffix for its type where it has none. Raises `ValidationFailed` for a URI
    that cannot be read, is too large, or holds an image that is none.
    """
    mime_type, content = await asyncio.to_thread(_read_data_uri, data_uri)
    asset_id = new_id()
    filename = segment(name)
    if "." not in filename:
        filename += mimetypes.guess_extension(essence(mime_type)) or ""
    key = f"assets/{asset_id}/{segment(filename)}"
    stored = await services.storage.put(key, content, limit=MAX_DATA_URI_BYTES)
    try:
        async with services.db.tenant(caller.org_id) as connection:
            await queries.add_asset(
                connection,
                id=asset_id,
                org_id=caller.org_id,
                name=filename,
                object_key=key,
                mime_type=mime_type,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                asset_type=asset_type(mime_type),
                source_type="data_uri",
            )
    except BaseException:
        await services.storage.delete([key])
        raise
    return asset_id


def _read_data_uri(data_uri: str) -> tuple[str, bytes]:
    mime_type, content = parse_data_uri(data_uri)
    check_image(io.BytesIO(content), mime_type)
    return mime_type, content


__all__ = ["AssetFile", "get", "resolve", "store_data_uri", "sweep_stale_uploads"]
