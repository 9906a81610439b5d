"""Rules of assets: reading, changing and deleting them, and what runs need of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets import queries
from runflow.assets.folders import service as folders
from runflow.assets.images import thumbnails
from runflow.assets.inline import store_copy, store_data_uri
from runflow.assets.media_types import MEDIA_TYPES
from runflow.assets.queries import ASSET_LIST, AssetFile, Creator
from runflow.assets.schemas import EMBEDS, AssetLookups, AssetRecord, PatchAsset, record
from runflow.assets.tables import AssetRow
from runflow.db.transaction import Transaction
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services


def types(services: Services) -> dict[str, Any]:
    """Return the named file types and the largest upload."""
    return {
        "items": [asdict(known) for known in MEDIA_TYPES],
        "max_upload_bytes": services.storage.upload_limit(services.settings.max_upload_bytes),
    }


async def list_page(services: Services, caller: Principal, query: ListQuery, base: str) -> dict[str, Any]:
    """Return a page of the organization's assets."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, ASSET_LIST, query, queries.live(caller.org_id), row=AssetRow)
        creators = await _creators(transaction, found.rows, query.embed)
    return envelope(found, [project(_record(services, row, base, creators), query) for row in found.rows])


async def get(services: Services, caller: Principal, asset_id: UUID, query: RecordQuery, base: str) -> dict[str, Any]:
    """Return an asset's record; make its thumbnail where nobody tried yet. Raises `AssetNotFound`, `InvalidField`."""
    check_projection(query, AssetRecord.model_fields, EMBEDS)
    async with services.db.tenant(caller.org_id) as transaction:
        asset = await queries.get_asset(transaction, asset_id)
        if asset is None:
            raise errors.AssetNotFound
        creators = await _creators(transaction, [asset], query.embed)
    if asset.thumbnail_key is None:
        asset = await _with_thumbnail(services, asset)
    return project(_record(services, asset, base, creators), query)


async def change(services: Services, caller: Principal, asset_id: UUID, body: PatchAsset, base: str) -> dict[str, Any]:
    """Rename or move an asset. Raises `AssetNotFound`, and `ValidationFailed` for a folder that is not there.

    What someone put in order is kept until someone deletes it, even if it came inside a request.
    """
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if values.get("name", "") is None:
        del values["name"]
    async with services.db.tenant(caller.org_id) as transaction:
        if values.get("folder_id") is not None:
            await folders.require(transaction, values["folder_id"], "folder_id")
        kept = {"used_at": None} if values else {}
        asset = await queries.change_asset(transaction, asset_id, {**values, **kept})
        if asset is None:
            raise errors.AssetNotFound
        if values:
            await recorder.record(transaction, caller, "asset.updated", "asset", asset_id, {"fields": sorted(values)})
    return record(asset, services, base)


async def look_up(services: Services, caller: Principal, body: AssetLookups, base: str) -> dict[str, Any]:
    """Say which of these contents the organization has uploaded, each with an asset of it.

    Whoever may upload may ask: a deployment need not send what is there.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        rows = await queries.by_contents(transaction, {item.sha256 for item in body.items})
    known = {(row.sha256, row.size_bytes): row for row in reversed(rows)}
    items = []
    for item in body.items:
        row = known.get((item.sha256, item.size_bytes))
        found: dict[str, Any] = {"asset_id": None, "url": None}
        if row is not None:
            found = {"asset_id": row.id, "url": record(row, services, base)["url"]}
        items.append(item.model_dump() | found)
    return {"items": items}


async def delete(services: Services, caller: Principal, asset_id: UUID) -> None:
    """Delete an asset; doing it again changes nothing. Raises `AssetNotFound`.

    It can no longer be read or used in new runs. Its bytes go when no URL that was given out for them is valid any
    more, and no run in hand and no workflow needs them (`assets/retention.py`).
    """
    async with services.db.tenant(caller.org_id) as transaction:
        deleted = await queries.delete_asset(
            transaction, asset_id, deleted_by=caller.key_id, grace_seconds=services.settings.output_url_seconds
        )
        if deleted is None:
            raise errors.AssetNotFound
        if deleted:
            await recorder.record(transaction, caller, "asset.deleted", "asset", asset_id)


async def resolve(
    transaction: Transaction, refs: Collection[UUID], *, with_deleted: bool = False
) -> dict[UUID, AssetFile]:
    """Return the files of these assets, in the caller's tenant transaction, by one query.

    Unknown and foreign ones are absent from the answer. So are deleted ones, unless a run that is queued already asks
    (`with_deleted`): it was promised its files, and they are kept for it.
    """
    if not refs:
        return {}
    return {file.id: file for file in await queries.get_files(transaction, set(refs), with_deleted=with_deleted)}


async def use(transaction: Transaction, refs: Collection[UUID]) -> dict[UUID, AssetFile]:
    """Return the files of these assets as `resolve` does, for something new that names them.

    The retention of those that came inside requests begins anew (`assets/retention.py`).
    """
    if not refs:
        return {}
    files = await queries.get_files(transaction, set(refs), with_deleted=False)
    if inline := [file.id for file in files if file.used_at is not None]:
        await queries.note_use(transaction, inline)
    return {file.id: file for file in files}


async def _creators(transaction: Transaction, rows: Sequence[AssetRow], embed: Collection[str]) -> dict[UUID, Creator]:
    keys = {row.created_by for row in rows if row.created_by is not None}
    return await queries.creators(transaction, keys) if keys and "created_by_user" in embed else {}


def _record(services: Services, row: AssetRow, base: str, creators: Mapping[UUID, Creator]) -> dict[str, Any]:
    shown = record(row, services, base)
    if row.created_by is not None and (user := creators.get(row.created_by)) is not None:
        shown["created_by_user"] = {
            "id": user.id,
            "email": user.email,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "avatar_url": None,
        }
    return shown


async def _with_thumbnail(services: Services, asset: AssetRow) -> AssetRow:
    key = await thumbnails.make_or_go_without(services, asset.id, asset.object_key, asset.mime_type, asset.size_bytes)
    if key is None:
        return asset
    async with services.db.tenant(asset.org_id) as transaction:
        await queries.note_thumbnail(transaction, asset.id, key)
        return await queries.get_asset(transaction, asset.id) or asset


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
