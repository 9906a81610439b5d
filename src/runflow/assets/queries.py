"""SQL of assets and upload sessions, and what the list of assets can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant; those of the sweeps, at the end, serve every
tenant.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, and_, any_, bindparam, func, insert, literal_column, select, update

from runflow.accounts.keys.tables import api_keys
from runflow.accounts.organizations.tables import members, users
from runflow.assets.media_types import AssetType
from runflow.assets.schemas import EMBEDS, AssetRecord
from runflow.assets.tables import AssetRow, AssetUploadRow, asset_uploads, assets
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

_LIVE = assets.c.deleted_at.is_(None)

_ADD_UPLOAD = """
    INSERT INTO asset_uploads (id, org_id, filename, mime_type, size_bytes, object_key, created_by, created_at,
                               expires_at)
    VALUES (%(id)s, %(org_id)s, %(filename)s, %(mime_type)s, %(size_bytes)s, %(object_key)s, %(created_by)s, now(),
            now() + make_interval(secs => %(lifetime)s))
    RETURNING expires_at
"""

_CLOSE_UPLOAD = "UPDATE asset_uploads SET confirmed_at = now() WHERE id = %(id)s AND confirmed_at IS NULL"


async def add_upload(transaction: Transaction, *, lifetime_seconds: int, **values: Any) -> datetime:
    """Insert an upload session that expires `lifetime_seconds` from now, and return when that is."""
    return await transaction.one_value(_ADD_UPLOAD, {**values, "lifetime": lifetime_seconds}, of=datetime)


async def get_upload(transaction: Transaction, upload_id: UUID) -> AssetUploadRow | None:
    """Return an upload session."""
    return await transaction.first(select(asset_uploads).where(asset_uploads.c.id == upload_id), row=AssetUploadRow)


async def close_upload(transaction: Transaction, upload_id: UUID) -> bool:
    """Mark an open session as confirmed; False when it is not open (any more). Waits for whoever is closing it."""
    return await transaction.change(_CLOSE_UPLOAD, {"id": upload_id}) == 1


INLINE = "data_uri"
"""`source_type` of a file that came inside a request. It goes when nothing new names it for a while."""


async def add_asset(transaction: Transaction, **values: Any) -> AssetRow:
    """Insert an asset."""
    used_at = func.now() if values.get("source_type") == INLINE else None
    statement = insert(assets).values(created_at=func.now(), updated_at=func.now(), used_at=used_at, **values)
    return await transaction.one(statement.returning(assets), row=AssetRow)


async def get_asset(transaction: Transaction, asset_id: UUID) -> AssetRow | None:
    """Return an asset that was not deleted."""
    return await transaction.first(select(assets).where(assets.c.id == asset_id, _LIVE), row=AssetRow)


async def by_contents(transaction: Transaction, hashes: Collection[str]) -> list[AssetRow]:
    """Return the uploaded assets with one of these SHA-256, the oldest first."""
    wanted = bindparam(None, [*hashes], ARRAY(Text), unique=True)
    statement = select(assets).where(
        assets.c.sha256 == any_(wanted), _LIVE, assets.c.source_type == literal_column("'upload'")
    )
    return await transaction.rows(statement.order_by(assets.c.created_at), row=AssetRow)


def live(org_id: UUID) -> Select[Any]:
    """Select an organization's assets that were not deleted, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(assets).where(assets.c.org_id == org_id, _LIVE)


@dataclass(frozen=True, slots=True)
class Creator:
    """The user that an API key belongs to."""

    key_id: UUID
    id: UUID
    email: str
    first_name: str | None
    last_name: str | None


async def creators(transaction: Transaction, key_ids: Collection[UUID]) -> dict[UUID, Creator]:
    """Return, by API key, the users that these keys belong to; a key of nobody in particular is absent."""
    statement = (
        select(api_keys.c.id.label("key_id"), users.c.id, users.c.email, members.c.first_name, members.c.last_name)
        .select_from(api_keys.join(users, users.c.id == api_keys.c.user_id))
        .outerjoin(members, and_(members.c.user_id == users.c.id, members.c.org_id == api_keys.c.org_id))
        .where(api_keys.c.id.in_(key_ids))
    )
    return {user.key_id: user for user in await transaction.rows(statement, row=Creator)}


@dataclass(frozen=True, slots=True)
class AssetFile:
    """What a run needs to know of an asset's file."""

    id: UUID
    object_key: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    used_at: datetime | None
    """When something new named it last, where that keeps it; None for one that is kept anyway."""


_FILES = """
    SELECT id, object_key, name AS filename, mime_type, size_bytes, sha256, used_at FROM assets
    WHERE id = ANY(%(ids)s) AND (deleted_at IS NULL OR (%(with_deleted)s AND purge_at IS NOT NULL))
"""

_NOTE_USE = "UPDATE assets SET used_at = now() WHERE id = ANY(%(ids)s) AND used_at IS NOT NULL AND deleted_at IS NULL"


async def get_files(transaction: Transaction, asset_ids: Collection[UUID], *, with_deleted: bool) -> list[AssetFile]:
    """Return those assets that exist; with `with_deleted`, those too that were deleted but are still stored."""
    return await transaction.rows(_FILES, {"ids": list(asset_ids), "with_deleted": with_deleted}, row=AssetFile)


async def note_use(transaction: Transaction, asset_ids: Collection[UUID]) -> None:
    """Note that files which came inside requests are used now; others are kept anyway."""
    await transaction.run(_NOTE_USE, {"ids": list(asset_ids)})


async def change_asset(transaction: Transaction, asset_id: UUID, values: Mapping[str, Any]) -> AssetRow | None:
    """Change fields of an asset that was not deleted; return its row."""
    statement = update(assets).where(assets.c.id == asset_id, _LIVE).values(**values, updated_at=func.now())
    return await transaction.first(statement.returning(assets), row=AssetRow)


_NOTE_THUMBNAIL = "UPDATE assets SET thumbnail_key = %(key)s WHERE id = %(id)s AND deleted_at IS NULL"

_DELETE = """
    UPDATE assets SET deleted_at = now(), deleted_by = %(deleted_by)s, updated_at = now(),
        purge_at = now() + make_interval(secs => %(grace)s)
    WHERE id = %(id)s AND deleted_at IS NULL
"""

_IS_THERE = "SELECT id FROM assets WHERE id = %(id)s"


async def note_thumbnail(transaction: Transaction, asset_id: UUID, key: str) -> None:
    """Note where an asset's thumbnail lies; an empty key says that none can be made."""
    await transaction.run(_NOTE_THUMBNAIL, {"id": asset_id, "key": key})


async def delete_asset(
    transaction: Transaction, asset_id: UUID, *, deleted_by: UUID, grace_seconds: int
) -> bool | None:
    """Mark an asset as deleted, its objects to go in `grace_seconds`.

    False when it was deleted before, None when there is no such asset.
    """
    if await transaction.change(_DELETE, {"id": asset_id, "deleted_by": deleted_by, "grace": grace_seconds}):
        return True
    return None if await transaction.value(_IS_THERE, {"id": asset_id}, of=UUID) is None else False


SOURCES = ("upload", "data_uri")

ASSET_LIST = ListSpec(
    from_=assets,
    fields=(
        ListField("id", assets.c.id, FieldKind.UUID),
        ListField("folder_id", assets.c.folder_id, FieldKind.UUID, nullable=True),
        ListField("name", assets.c.name, FieldKind.STRING),
        ListField("mime_type", assets.c.mime_type, FieldKind.STRING),
        ListField("size_bytes", assets.c.size_bytes, FieldKind.INT),
        ListField("asset_type", assets.c.asset_type, FieldKind.ENUM, choices=tuple(AssetType)),
        ListField("source_type", assets.c.source_type, FieldKind.ENUM, choices=SOURCES),
        ListField("created_by", assets.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", assets.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", assets.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(AssetRecord.model_fields),
    embeds=EMBEDS,
)


_TAKE_DELETED = """
    UPDATE assets SET purge_at = now() + make_interval(secs => %(again)s)
    WHERE id IN (SELECT id FROM assets WHERE purge_at < now() ORDER BY purge_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, object_key, thumbnail_key
"""
"""Taken for a while, not for good: what a process that dies leaves undone is due again."""

_USED = """
    WITH wanted AS (
        SELECT id, org_id, '%%' || replace(id::text, '-', '') || '%%' AS name FROM assets WHERE id = ANY(%(ids)s)
    )
    SELECT a.id FROM wanted a
    WHERE EXISTS (
            SELECT FROM lanes l JOIN runs r ON r.lane_id = l.id AND r.status_code = 'queued'
            WHERE l.org_id = a.org_id AND r.created_at < CAST(%(before)s AS timestamptz)
              AND lower(replace(r.input::text, '-', '')) LIKE a.name)
       OR EXISTS (
            SELECT FROM run_attempts t JOIN runs r ON r.id = t.run_id
            WHERE t.status_code IN ('offered', 'live') AND r.org_id = a.org_id
              AND lower(replace(r.input::text, '-', '')) LIKE a.name)
       OR EXISTS (
            SELECT FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id
            WHERE w.org_id = a.org_id
              AND (w.deleted_at IS NULL OR w.deleted_at > now() - make_interval(days => %(restorable_days)s))
              AND (lower(replace(v.resources::text, '-', '')) LIKE a.name
                   OR lower(replace(v.interface::text, '-', '')) LIKE a.name))
       OR EXISTS (
            SELECT FROM workflows w JOIN workflow_examples e ON e.workflow_id = w.id
            WHERE w.org_id = a.org_id
              AND (w.deleted_at IS NULL OR w.deleted_at > now() - make_interval(days => %(restorable_days)s))
              AND lower(replace(e.input::text, '-', '')) LIKE a.name)
"""
"""A reference may spell the id with or without hyphens, in either case."""

_UNUSED_SINCE = """
    SELECT id FROM assets WHERE used_at < %(before)s AND deleted_at IS NULL
    ORDER BY used_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
_USE = "UPDATE assets SET used_at = now() WHERE id = ANY(%(ids)s)"
_EXPIRE = """
    UPDATE assets SET deleted_at = now(), updated_at = now(), purge_at = now() + make_interval(secs => %(grace)s)
    WHERE id = ANY(%(ids)s)
"""

_KEEP = "UPDATE assets SET purge_at = now() + make_interval(secs => %(again)s) WHERE id = ANY(%(ids)s)"
_PURGED = "UPDATE assets SET purge_at = NULL, thumbnail_key = NULL WHERE id = ANY(%(ids)s) AND deleted_at IS NOT NULL"

_STALE_UPLOADS = """
    SELECT id FROM asset_uploads
    WHERE confirmed_at IS NULL AND expires_at < now() - make_interval(secs => %(grace)s)
      AND id <> ALL(CAST(%(aside)s AS uuid[]))
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
_FORGET_UPLOADS = "DELETE FROM asset_uploads WHERE id = ANY(%(ids)s)"
_FORGET_CONFIRMED_UPLOADS = """
    DELETE FROM asset_uploads WHERE id IN (
        SELECT id FROM asset_uploads
        WHERE confirmed_at IS NOT NULL AND expires_at < now() - make_interval(secs => %(grace)s)
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class DeletedAsset:
    """An asset whose objects are due to go."""

    id: UUID
    object_key: str
    thumbnail_key: str | None


async def take_deleted(transaction: Transaction, *, limit: int, again_seconds: int) -> list[DeletedAsset]:
    """Return up to `limit` deleted assets whose objects are due to go; they are due again in `again_seconds`."""
    return await transaction.rows(_TAKE_DELETED, {"limit": limit, "again": again_seconds}, row=DeletedAsset)


async def still_used(
    transaction: Transaction, ids: Sequence[UUID], *, restorable_days: int, before: datetime | None = None
) -> set[UUID]:
    """Return those assets that a run which has not ended, or a version or an example of a workflow, names.

    Versions of workflows deleted up to `restorable_days` ago count: they may be brought back. Of queued runs only those
    made before `before` are read, if it is given: whoever knows that younger ones cannot name these assets.
    """
    values = {"ids": list(ids), "restorable_days": restorable_days, "before": before or "infinity"}
    return set(await transaction.values(_USED, values, of=UUID))


async def unused_since(transaction: Transaction, *, before: datetime, limit: int) -> list[UUID]:
    """Lock and return up to `limit` files that came inside requests and that nothing new named since `before`."""
    return await transaction.values(_UNUSED_SINCE, {"before": before, "limit": limit}, of=UUID)


async def renew(transaction: Transaction, ids: Sequence[UUID]) -> None:
    """Let the retention of these files begin anew."""
    await transaction.run(_USE, {"ids": list(ids)})


async def expire(transaction: Transaction, ids: Sequence[UUID], *, grace_seconds: int) -> None:
    """Delete these assets; their objects go in `grace_seconds`, as those of assets that someone deleted."""
    await transaction.run(_EXPIRE, {"ids": list(ids), "grace": grace_seconds})


async def keep(transaction: Transaction, ids: Sequence[UUID], *, again_seconds: int) -> None:
    """Look at these deleted assets again in `again_seconds`."""
    await transaction.run(_KEEP, {"ids": list(ids), "again": again_seconds})


async def note_purged(transaction: Transaction, ids: Sequence[UUID]) -> None:
    """Note that nothing of these deleted assets is stored any more."""
    await transaction.run(_PURGED, {"ids": list(ids)})


async def stale_uploads(transaction: Transaction, *, grace_seconds: int, limit: int, aside: list[UUID]) -> list[UUID]:
    """Lock up to `limit` unconfirmed sessions that expired more than `grace_seconds` ago; return their ids."""
    values = {"grace": grace_seconds, "limit": limit, "aside": aside}
    return await transaction.values(_STALE_UPLOADS, values, of=UUID)


async def forget_uploads(transaction: Transaction, uploads: list[UUID]) -> None:
    """Delete sessions."""
    await transaction.run(_FORGET_UPLOADS, {"ids": uploads})


async def forget_confirmed_uploads(transaction: Transaction, *, grace_seconds: int, limit: int) -> int:
    """Delete up to `limit` confirmed sessions that expired more than `grace_seconds` ago: the asset says it all."""
    return await transaction.change(_FORGET_CONFIRMED_UPLOADS, {"grace": grace_seconds, "limit": limit})
