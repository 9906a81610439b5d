"""SQL of the sweep over every tenant's model uploads."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.models.tables import models

_TAKE_STALE = text("""
    DELETE FROM model_uploads WHERE id IN (
        SELECT id FROM model_uploads
        WHERE updated_at < now() - make_interval(secs => :open_seconds)
           OR (confirmed_at IS NOT NULL AND updated_at < now() - make_interval(secs => :confirmed_seconds))
        ORDER BY updated_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, org_id, sha256
""")


async def take_stale(
    connection: AsyncConnection, *, open_seconds: int, confirmed_seconds: int, limit: int
) -> Sequence[Row[Any]]:
    """Delete sessions that nobody went on with for so long, and confirmed ones sooner; return what they were."""
    values = {"open_seconds": open_seconds, "confirmed_seconds": confirmed_seconds, "limit": limit}
    return (await connection.execute(_TAKE_STALE, values)).all()


async def named(connection: AsyncConnection, keys: Collection[str]) -> set[str]:
    """Return those of these object keys that a model has."""
    return set((await connection.execute(select(models.c.object_key).where(models.c.object_key.in_(keys)))).scalars())
