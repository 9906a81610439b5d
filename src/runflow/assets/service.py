"""Rules of assets: reading, changing and deleting them, and what runs need of them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets import queries
from runflow.assets.folders import service as folders
from runflow.assets.images import thumbnails
from runflow.assets.inline import store_copy, store_data_uri
from runflow.assets.media_types import MEDIA_TYPES
from runflow.assets.queries import ASSET_LIST
from runflow.assets.schemas import EMBEDS, AssetRecord, PatchAsset, record
from runflow.db.transaction import Transaction
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, bounded, check_projection, envelope, page, project
from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class AssetFile:
    """What a run needs to know of an asset's file."""

    id: UUID
    object_key: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None


def types(services: Services) -> dict[str, Any]:
    """Return the named file types and the largest upload."""
    return {
        "items": [asdict(known) for known in MEDIA_TYPES],
        "max_upload_bytes": services.storage.upload_limit(services.settings.max_upload_bytes),
    }


async def list_page(services: Services, caller: Principal, query: ListQuery, base: str) -> dict[str, Any]:
    """Return a page of the organization's assets."""
    async with services.db.tenant(caller.org_id) as connection:
        statement = await bounded(connection, ASSET_LIST, query, queries.live(caller.org_id))
        found = page(ASSET_LIST, query, await queries.rows(connection, statement))
        creators = await _creators(connection, found.rows, query.embed)
    return envelope(found, [project(_record(services, row, base, creators), query) for row in found.rows])


async def get(services: Services, caller: Principal, asset_id: UUID, query: RecordQuery, base: str) -> dict[str, Any]:
    """Return an asset's record; make its thumbnail where nobody tried yet. Raises `AssetNotFound`, `InvalidField`."""
    check_projection(query, AssetRecord.model_fields, EMBEDS)
    async with services.db.tenant(caller.org_id) as connection:
        asset = await queries.get_asset(connection, asset_id)
        if asset is None:
            raise errors.AssetNotFound
        creators = await _creators(connection, [asset], query.embed)
    if asset["thumbnail_key"] is None:
        asset = await _with_thumbnail(services, asset)
    return project(_record(services, asset, base, creators), query)


async def change(services: Services, caller: Principal, asset_id: UUID, body: PatchAsset, base: str) -> dict[str, Any]:
    """Rename or move an asset. Raises `AssetNotFound`, and `ValidationFailed` for a folder that is not there.

    What someone put in order is kept until someone deletes it, even if it came inside a request.
    """
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if values.get("name", "") is None:
        del values["name"]
    async with services.db.tenant(caller.org_id) as connection:
        if values.get("folder_id") is not None:
            await folders.require(connection, values["folder_id"], "folder_id")
        kept = {"used_at": None} if values else {}
        asset = await queries.change_asset(connection, asset_id, {**values, **kept})
        if asset is None:
            raise errors.AssetNotFound
        if values:
            await recorder.record(connection, caller, "asset.updated", "asset", asset_id, {"fields": sorted(values)})
    return record(asset, services, base)


async def delete(services: Services, caller: Principal, asset_id: UUID) -> None:
    """Delete an asset; doing it again changes nothing. Raises `AssetNotFound`.

    It can no longer be read or used in new runs. Its bytes go when no URL that was given out for them is valid any
    more, and no run in hand and no workflow needs them (`assets/retention.py`).
    """
    async with services.db.tenant(caller.org_id) as connection:
        deleted = await queries.delete_asset(
            connection, asset_id, deleted_by=caller.key_id, grace_seconds=services.settings.output_url_seconds
        )
        if deleted is None:
            raise errors.AssetNotFound
        if deleted:
            await recorder.record(connection, caller, "asset.deleted", "asset", asset_id)


async def resolve(
    connection: Transaction, refs: Collection[UUID], *, with_deleted: bool = False
) -> dict[UUID, AssetFile]:
    """Return the files of these assets, in the caller's tenant transaction, by one query.

    Unknown and foreign ones are absent from the answer. So are deleted ones, unless a run that is queued already asks
    (`with_deleted`): it was promised its files, and they are kept for it.
    """
    if not refs:
        return {}
    return _files(await queries.get_files(connection, set(refs), with_deleted=with_deleted))


async def use(connection: Transaction, refs: Collection[UUID]) -> dict[UUID, AssetFile]:
    """Return the files of these assets as `resolve` does, for something new that names them.

    The retention of those that came inside requests begins anew (`assets/retention.py`).
    """
    if not refs:
        return {}
    rows = await queries.get_files(connection, set(refs), with_deleted=False)
    if inline := [row["id"] for row in rows if row["used_at"] is not None]:
        await queries.note_use(connection, inline)
    return _files(rows)


def _files(rows: Sequence[RowMapping]) -> dict[UUID, AssetFile]:
    return {
        row["id"]: AssetFile(
            id=row["id"],
            object_key=row["object_key"],
            filename=row["name"],
            mime_type=row["mime_type"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
        )
        for row in rows
    }


async def _creators(
    connection: Transaction, rows: Sequence[RowMapping], embed: Collection[str]
) -> dict[UUID, RowMapping]:
    keys = {row["created_by"] for row in rows if row["created_by"] is not None}
    return await queries.creators(connection, keys) if keys and "created_by_user" in embed else {}


def _record(services: Services, row: RowMapping, base: str, creators: dict[UUID, RowMapping]) -> dict[str, Any]:
    shown = record(row, services, base)
    if (user := creators.get(row["created_by"])) is not None:
        names = ("id", "email", "first_name", "last_name")
        shown["created_by_user"] = {**{name: user[name] for name in names}, "avatar_url": None}
    return shown


async def _with_thumbnail(services: Services, asset: RowMapping) -> RowMapping:
    key = await thumbnails.make_or_go_without(
        services, asset["id"], asset["object_key"], asset["mime_type"], asset["size_bytes"]
    )
    if key is None:
        return asset
    async with services.db.tenant(asset["org_id"]) as connection:
        await queries.note_thumbnail(connection, asset["id"], key)
        return await queries.get_asset(connection, asset["id"]) or asset


__all__ = [
    "AssetFile",
    "change",
    "delete",
    "get",
    "list_page",
    "resolve",
    "store_copy",
    "store_data_uri",
    "types",
    "use",
]
