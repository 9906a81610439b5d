"""SQL of the sweeps over every tenant's assets and upload sessions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.assets.tables import asset_uploads

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


async def take_deleted(connection: AsyncConnection, *, limit: int, again_seconds: int) -> Sequence[Row[Any]]:
    """Return up to `limit` deleted assets whose objects are due to go; they are due again in `again_seconds`."""
    return (await connection.execute(_TAKE_DELETED, {"limit": limit, "again": again_seconds})).all()


async def still_used(
    connection: AsyncConnection, ids: Sequence[UUID], *, restorable_days: int, before: datetime | None = None
) -> set[UUID]:
    """Return those assets that a run which has not ended, or a version of a workflow, names.

    Versions of workflows deleted up to `restorable_days` ago count: they may be brought back. Of queued runs only those
    made before `before` are read, if it is given: whoever knows that younger ones cannot name these assets.
    """
    values = {"ids": list(ids), "restorable_days": restorable_days, "before": before or "infinity"}
    return {row.id for row in await connection.execute(_USED, values)}


async def unused_since(connection: AsyncConnection, *, before: datetime, limit: int) -> list[UUID]:
    """Lock and return up to `limit` files that came inside requests and that nothing new named since `before`."""
    return [row.id for row in await connection.execute(_UNUSED_SINCE, {"before": before, "limit": limit})]


async def note_use(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Let the retention of these files begin anew."""
    await connection.execute(_USE, {"ids": list(ids)})


async def expire(connection: AsyncConnection, ids: Sequence[UUID], *, grace_seconds: int) -> None:
    """Delete these assets; their objects go in `grace_seconds`, as those of assets that someone deleted."""
    await connection.execute(_EXPIRE, {"ids": list(ids), "grace": grace_seconds})


async def keep(connection: AsyncConnection, ids: Sequence[UUID], *, again_seconds: int) -> None:
    """Look at these deleted assets again in `again_seconds`."""
    await connection.execute(_KEEP, {"ids": list(ids), "again": again_seconds})


async def note_purged(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Note that nothing of these deleted assets is stored any more."""
    await connection.execute(_PURGED, {"ids": list(ids)})


async def take_stale_uploads(connection: AsyncConnection, *, grace_seconds: int, limit: int) -> Sequence[Row[Any]]:
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


async def forget_confirmed_uploads(connection: AsyncConnection, *, grace_seconds: int, limit: int) -> int:
    """Delete up to `limit` confirmed sessions that expired more than `grace_seconds` ago: the asset says it all."""
    cutoff = func.now() - text("make_interval(secs => :grace)").bindparams(grace=grace_seconds)
    done = (
        select(asset_uploads.c.id)
        .where(asset_uploads.c.confirmed_at.is_not(None), asset_uploads.c.expires_at < cutoff)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(delete(asset_uploads).where(asset_uploads.c.id.in_(done)))).rowcount
