"""SQL of assets and upload sessions. Row-level security limits each statement to the transaction's tenant."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, RowMapping, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.assets.tables import asset_uploads, assets

_LIVE = assets.c.deleted_at.is_(None)


async def add_upload(connection: AsyncConnection, *, lifetime_seconds: int, **values: Any) -> RowMapping:
    """Insert an upload session that expires `lifetime_seconds` from now."""
    expires = func.now() + text("make_interval(secs => :lifetime)").bindparams(lifetime=lifetime_seconds)
    statement = insert(asset_uploads).values(expires_at=expires, created_at=func.now(), **values)
    row: RowMapping = (await connection.execute(statement.returning(asset_uploads))).mappings().one()
    return row


async def get_upload(connection: AsyncConnection, upload_id: UUID) -> RowMapping | None:
    """Return an upload session."""
    statement = select(asset_uploads).where(asset_uploads.c.id == upload_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def close_upload(connection: AsyncConnection, upload_id: UUID) -> bool:
    """Mark an open session as confirmed; False when it is not open (any more). Waits for whoever is closing it."""
    statement = (
        update(asset_uploads)
        .where(asset_uploads.c.id == upload_id, asset_uploads.c.confirmed_at.is_(None))
        .values(confirmed_at=func.now())
    )
    return (await connection.execute(statement)).rowcount == 1


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


async def add_asset(connection: AsyncConnection, **values: Any) -> RowMapping:
    """Insert an asset."""
    statement = insert(assets).values(created_at=func.now(), updated_at=func.now(), **values)
    row: RowMapping = (await connection.execute(statement.returning(assets))).mappings().one()
    return row


async def get_asset(connection: AsyncConnection, asset_id: UUID) -> RowMapping | None:
    """Return an asset that was not deleted."""
    statement = select(assets).where(assets.c.id == asset_id, _LIVE)
    return (await connection.execute(statement)).mappings().one_or_none()


async def get_files(connection: AsyncConnection, asset_ids: Collection[UUID]) -> Sequence[RowMapping]:
    """Return those assets that exist."""
    statement = select(assets).where(assets.c.id.in_(asset_ids), _LIVE)
    return (await connection.execute(statement)).mappings().all()
