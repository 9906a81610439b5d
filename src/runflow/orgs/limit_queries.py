"""SQL of what organizations have. The organization is the transaction's tenant."""

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('limit ' || :what || ' ' || CAST(:org AS text), 0))")

# By the values of `limits.Limited`.
_COUNTS = {
    "API keys": text(
        "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
    ),
    "members": text("SELECT count(*) FROM members"),
    "asset folders": text("SELECT count(*) FROM asset_folders"),
    "webhooks": text("SELECT count(*) FROM webhooks"),
}

_STORED = text("""
SELECT (SELECT coalesce(sum(size_bytes), 0) FROM assets WHERE deleted_at IS NULL OR purge_at IS NOT NULL)
     + (SELECT coalesce(sum(size_bytes), 0) FROM asset_uploads WHERE confirmed_at IS NULL)
     + (SELECT coalesce(sum(size_bytes), 0) FROM models)
     + (SELECT coalesce(sum(size_bytes), 0) FROM model_uploads WHERE confirmed_at IS NULL)
""")
"""Deleted assets count until `purge_at` has come and their objects are gone."""


async def lock(connection: AsyncConnection, org_id: UUID, what: str) -> None:
    """Let nobody else add one of these to this organization until the transaction ends."""
    await connection.execute(_LOCK, {"what": what, "org": str(org_id)})


async def count(connection: AsyncConnection, what: str) -> int:
    """Return how many of these the tenant has; keys that are revoked or at their end do not count."""
    return int((await connection.execute(_COUNTS[what])).scalar_one())


async def stored_bytes(connection: AsyncConnection) -> int:
    """Return how many bytes the tenant's uploads and models have, with those that were only declared so far."""
    return int((await connection.execute(_STORED)).scalar_one())


async def count_organizations(connection: AsyncConnection) -> int:
    """Return how many organizations the installation has."""
    return int((await connection.execute(select(func.count_organizations()))).scalar_one())
