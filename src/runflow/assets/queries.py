"""SQL of assets and upload sessions, and what the list of assets can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant; those of the sweeps, at the end, serve every
tenant.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, RowMapping, Select, and_, delete, func, insert, or_, select, text, update

from runflow.accounts.keys.tables import api_keys
from runflow.accounts.organizations.tables import members, users
from runflow.assets.media_types import AssetType
from runflow.assets.schemas import EMBEDS, AssetRecord
from runflow.assets.tables import asset_uploads, assets
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

_LIVE = assets.c.deleted_at.is_(None)
_STORED = or_(_LIVE, assets.c.purge_at.is_not(None))


async def add_upload(connection: Transaction, *, lifetime_seconds: int, **values: Any) -> RowMapping:
    """Insert an upload session that expires `lifetime_seconds` from now."""
    expires = func.now() + text("make_interval(secs => :lifetime)").bindparams(lifetime=lifetime_seconds)
    statement = insert(asset_uploads).values(expires_at=expires, created_at=func.now(), **values)
    row: RowMapping = (await connection.execute(statement.returning(asset_uploads))).mappings().one()
    return row


async def get_upload(connection: Transaction, upload_id: UUID) -> RowMapping | None:
    """Return an upload session."""
    statement = select(asset_uploads).where(asset_uploads.c.id == upload_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def close_upload(connection: Transaction, upload_id: UUID) -> bool:
    """Mark an open session as confirmed; False when it is not open (any more). Waits for whoever is closing it."""
    statement = (
        update(asset_uploads)
        .where(asset_uploads.c.id == upload_id, asset_uploads.c.confirmed_at.is_(None))
        .values(confirmed_at=func.now())
    )
    return (await connection.execute(statement)).rowcount == 1


INLINE = "data_uri"
"""`source_type` of a file that came inside a request. It goes when nothing new names it for a while."""


async def add_asset(connection: Transaction, **values: Any) -> RowMapping:
    """Insert an asset."""
    used_at = func.now() if values.get("source_type") == INLINE else None
    statement = insert(assets).values(created_at=func.now(), updated_at=func.now(), used_at=used_at, **values)
    row: RowMapping = (await connection.execute(statement.returning(assets))).mappings().one()
    return row


async def get_asset(connection: Transaction, asset_id: UUID) -> RowMapping | None:
    """Return an asset that was not deleted."""
    statement = select(assets).where(assets.c.id == asset_id, _LIVE)
    return (await connection.execute(statement)).mappings().one_or_none()


def live(org_id: UUID) -> Select[Any]:
    """Select an organization's assets that were not deleted, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(assets).where(assets.c.org_id == org_id, _LIVE)


async def creators(connection: Transaction, key_ids: Collection[UUID]) -> dict[UUID, RowMapping]:
    """Return, by API key, the users that these keys belong to; a key of nobody in particular is absent."""
    statement = (
        select(api_keys.c.id.label("key_id"), users.c.id, users.c.email, members.c.first_name, members.c.last_name)
        .select_from(api_keys.join(users, users.c.id == api_keys.c.user_id))
        .outerjoin(members, and_(members.c.user_id == users.c.id, members.c.org_id == api_keys.c.org_id))
        .where(api_keys.c.id.in_(key_ids))
    )
    return {row["key_id"]: row for row in (await connection.execute(statement)).mappings()}


async def rows(connection: Transaction, statement: Select[Any]) -> Sequence[RowMapping]:
    """Run a list's statement."""
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def get_files(
    connection: Transaction, asset_ids: Collection[UUID], *, with_deleted: bool
) -> Sequence[RowMapping]:
    """Return those assets that exist; with `with_deleted`, those too that were deleted but are still stored."""
    statement = select(assets).where(assets.c.id.in_(asset_ids), _STORED if with_deleted else _LIVE)
    return (await connection.execute(statement)).mappings().all()


async def note_use(connection: Transaction, asset_ids: Collection[UUID]) -> None:
    """Note that files which came inside requests are used now; others are kept anyway."""
    statement = update(assets).where(assets.c.id.in_(asset_ids), assets.c.used_at.is_not(None), _LIVE)
    await connection.execute(statement.values(used_at=func.now()))


async def change_asset(connection: Transaction, asset_id: UUID, values: Mapping[str, Any]) -> RowMapping | None:
    """Change fields of an asset that was not deleted; return its row."""
    statement = (
        update(assets).where(assets.c.id == asset_id, _LIVE).values(**values, updated_at=func.now()).returning(assets)
    )
    found: RowMapping | None = (await connection.execute(statement)).mappings().one_or_none()
    return found


async def note_thumbnail(connection: Transaction, asset_id: UUID, key: str) -> None:
    """Note where an asset's thumbnail lies; an empty key says that none can be made."""
    await connection.execute(update(assets).where(assets.c.id == asset_id, _LIVE).values(thumbnail_key=key))


async def delete_asset(connection: Transaction, asset_id: UUID, *, deleted_by: UUID, grace_seconds: int) -> bool | None:
    """Mark an asset as deleted, its objects to go in `grace_seconds`.

    False when it was deleted before, None when there is no such asset.
    """
    grace = text("make_interval(secs => :grace)").bindparams(grace=grace_seconds)
    statement = (
        update(assets)
        .where(assets.c.id == asset_id, _LIVE)
        .values(deleted_at=func.now(), deleted_by=deleted_by, updated_at=func.now(), purge_at=func.now() + grace)
    )
    if (await connection.execute(statement)).rowcount:
        return True
    known = (await connection.execute(select(assets.c.id).where(assets.c.id == asset_id))).one_or_none()
    return None if known is None else False


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


_TAKE_DELETED = text("""
    UPDATE assets SET purge_at = now() + make_interval(secs => :again)
    WHERE id IN (SELECT id FROM assets WHERE purge_at < now() ORDER BY purge_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, object_key, thumbnail_key
""")
"""Taken for a while, not for good: what a process that dies leaves undone is due again."""

_USED = text("""
    WITH wanted AS (
        SELECT id, org_id, '%' || replace(id::text, '-', '') || '%' AS name FROM assets WHERE id = ANY(:ids)
    )
    SELECT a.id FROM wanted a
    WHERE EXISTS (
            SELECT FROM lanes l JOIN runs r ON r.lane_id = l.id AND r.status_code = 'queued'
            WHERE l.org_id = a.org_id AND r.created_at < CAST(:before AS timestamptz)
              AND lower(replace(r.input::text, '-', '')) LIKE a.name)
       OR EXISTS (
            SELECT FROM run_attempts t JOIN runs r ON r.id = t.run_id
            WHERE t.status_code IN ('offered', 'live') AND r.org_id = a.org_id
              AND lower(replace(r.input::text, '-', '')) LIKE a.name)
       OR EXISTS (
            SELECT FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id
            WHERE w.org_id = a.org_id
              AND (w.deleted_at IS NULL OR w.deleted_at > now() - make_interval(days => :restorable_days))
              AND (lower(replace(v.resources::text, '-', '')) LIKE a.name
                   OR lower(replace(v.interface::text, '-', '')) LIKE a.name))
""")
"""A reference may spell the id with or without hyphens, in either case."""

_UNUSED_SINCE = text("""
    SELECT id FROM assets WHERE used_at < :before AND deleted_at IS NULL
    ORDER BY used_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_USE = text("UPDATE assets SET used_at = now() WHERE id = ANY(:ids)")
_EXPIRE = text("""
    UPDATE assets SET deleted_at = now(), updated_at = now(), purge_at = now() + make_interval(secs => :grace)
    WHERE id = ANY(:ids)
""")

_KEEP = text("UPDATE assets SET purge_at = now() + make_interval(secs => :again) WHERE id = ANY(:ids)")
_PURGED = text(
    "UPDATE assets SET purge_at = NULL, thumbnail_key = NULL WHERE id = ANY(:ids) AND deleted_at IS NOT NULL"
)


async def take_deleted(connection: Transaction, *, limit: int, again_seconds: int) -> Sequence[Row[Any]]:
    """Return up to `limit` deleted assets whose objects are due to go; they are due again in `again_seconds`."""
    return (await connection.execute(_TAKE_DELETED, {"limit": limit, "again": again_seconds})).all()


async def still_used(
    connection: Transaction, ids: Sequence[UUID], *, restorable_days: int, before: datetime | None = None
) -> set[UUID]:
    """Return those assets that a run which has not ended, or a version of a workflow, names.

    Versions of workflows deleted up to `restorable_days` ago count: they may be brought back. Of queued runs only those
    made before `before` are read, if it is given: whoever knows that younger ones cannot name these assets.
    """
    values = {"ids": list(ids), "restorable_days": restorable_days, "before": before or "infinity"}
    return {row.id for row in await connection.execute(_USED, values)}


async def unused_since(connection: Transaction, *, before: datetime, limit: int) -> list[UUID]:
    """Lock and return up to `limit` files that came inside requests and that nothing new named since `before`."""
    return [row.id for row in await connection.execute(_UNUSED_SINCE, {"before": before, "limit": limit})]


async def renew(connection: Transaction, ids: Sequence[UUID]) -> None:
    """Let the retention of these files begin anew."""
    await connection.execute(_USE, {"ids": list(ids)})


async def expire(connection: Transaction, ids: Sequence[UUID], *, grace_seconds: int) -> None:
    """Delete these assets; their objects go in `grace_seconds`, as those of assets that someone deleted."""
    await connection.execute(_EXPIRE, {"ids": list(ids), "grace": grace_seconds})


async def keep(connection: Transaction, ids: Sequence[UUID], *, again_seconds: int) -> None:
    """Look at these deleted assets again in `again_seconds`."""
    await connection.execute(_KEEP, {"ids": list(ids), "again": again_seconds})


async def note_purged(connection: Transaction, ids: Sequence[UUID]) -> None:
    """Note that nothing of these deleted assets is stored any more."""
    await connection.execute(_PURGED, {"ids": list(ids)})


async def take_stale_uploads(connection: Transaction, *, grace_seconds: int, limit: int) -> Sequence[Row[Any]]:
    """Delete up to `limit` unconfirmed sessions that expired more than `grace_seconds` ago; return their ids."""
    cutoff = func.now() - text("make_interval(secs => :grace)").bindparams(grace=grace_seconds)
    stale = (
        select(asset_uploads.c.id)
        .where(asset_uploads.c.confirmed_at.is_(None), asset_uploads.c.expires_at < cutoff)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = delete(asset_uploads).where(asset_uploads.c.id.in_(stale)).returning(asset_uploads.c.id)
    return (await connection.execute(statement)).all()


async def forget_confirmed_uploads(connection: Transaction, *, grace_seconds: int, limit: int) -> int:
    """Delete up to `limit` confirmed sessions that expired more than `grace_seconds` ago: the asset says it all."""
    cutoff = func.now() - text("make_interval(secs => :grace)").bindparams(grace=grace_seconds)
    done = (
        select(asset_uploads.c.id)
        .where(asset_uploads.c.confirmed_at.is_not(None), asset_uploads.c.expires_at < cutoff)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(delete(asset_uploads).where(asset_uploads.c.id.in_(done)))).rowcount
