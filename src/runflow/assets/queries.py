"""SQL of assets and upload sessions. Row-level security limits each statement to the transaction's tenant.

What the sweeps do for every tenant stands in `sweep_queries.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.assets.tables import asset_uploads, assets
from runflow.keys.tables import api_keys
from runflow.orgs.tables import members, users

_LIVE = assets.c.deleted_at.is_(None)
_STORED = or_(_LIVE, assets.c.purge_at.is_not(None))


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


INLINE = "data_uri"
"""`source_type` of a file that came inside a request. It goes when nothing new names it for a while."""


async def add_asset(connection: AsyncConnection, **values: Any) -> RowMapping:
    """Insert an asset."""
    used_at = func.now() if values.get("source_type") == INLINE else None
    statement = insert(assets).values(created_at=func.now(), updated_at=func.now(), used_at=used_at, **values)
    row: RowMapping = (await connection.execute(statement.returning(assets))).mappings().one()
    return row


async def get_asset(connection: AsyncConnection, asset_id: UUID) -> RowMapping | None:
    """Return an asset that was not deleted."""
    statement = select(assets).where(assets.c.id == asset_id, _LIVE)
    return (await connection.execute(statement)).mappings().one_or_none()


def live(org_id: UUID) -> Select[Any]:
    """Select an organization's assets that were not deleted, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(assets).where(assets.c.org_id == org_id, _LIVE)


async def creators(connection: AsyncConnection, key_ids: Collection[UUID]) -> dict[UUID, RowMapping]:
    """Return, by API key, the users that these keys belong to; a key of nobody in particular is absent."""
    statement = (
        select(api_keys.c.id.label("key_id"), users.c.id, users.c.email, members.c.first_name, members.c.last_name)
        .select_from(api_keys.join(users, users.c.id == api_keys.c.user_id))
        .outerjoin(members, and_(members.c.user_id == users.c.id, members.c.org_id == api_keys.c.org_id))
        .where(api_keys.c.id.in_(key_ids))
    )
    return {row["key_id"]: row for row in (await connection.execute(statement)).mappings()}


async def rows(connection: AsyncConnection, statement: Select[Any]) -> Sequence[RowMapping]:
    """Run a list's statement."""
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def get_files(
    connection: AsyncConnection, asset_ids: Collection[UUID], *, with_deleted: bool
) -> Sequence[RowMapping]:
    """Return those assets that exist; with `with_deleted`, those too that were deleted but are still stored."""
    statement = select(assets).where(assets.c.id.in_(asset_ids), _STORED if with_deleted else _LIVE)
    return (await connection.execute(statement)).mappings().all()


async def note_use(connection: AsyncConnection, asset_ids: Collection[UUID]) -> None:
    """Note that files which came inside requests are used now; others are kept anyway."""
    statement = update(assets).where(assets.c.id.in_(asset_ids), assets.c.used_at.is_not(None), _LIVE)
    await connection.execute(statement.values(used_at=func.now()))


async def change_asset(connection: AsyncConnection, asset_id: UUID, values: Mapping[str, Any]) -> RowMapping | None:
    """Change fields of an asset that was not deleted; return its row."""
    statement = (
        update(assets).where(assets.c.id == asset_id, _LIVE).values(**values, updated_at=func.now()).returning(assets)
    )
    found: RowMapping | None = (await connection.execute(statement)).mappings().one_or_none()
    return found


async def note_thumbnail(connection: AsyncConnection, asset_id: UUID, key: str) -> None:
    """Note where an asset's thumbnail lies; an empty key says that none can be made."""
    await connection.execute(update(assets).where(assets.c.id == asset_id, _LIVE).values(thumbnail_key=key))


async def delete_asset(
    connection: AsyncConnection, asset_id: UUID, *, deleted_by: UUID, grace_seconds: int
) -> bool | None:
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
