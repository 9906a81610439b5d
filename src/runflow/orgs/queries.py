"""SQL of organizations."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.orgs.tables import organizations


async def add(connection: AsyncConnection, *, org_id: UUID, slug: str, name: str) -> None:
    """Insert an organization."""
    await connection.execute(insert(organizations).values(id=org_id, slug=slug, name=name))


async def first(connection: AsyncConnection) -> Row[Any] | None:
    """Return the oldest organization, the one that `runflow up` made."""
    return (await connection.execute(select(organizations).order_by(organizations.c.created_at).limit(1))).one_or_none()


async def by_slug(connection: AsyncConnection, slug: str) -> Row[Any] | None:
    """Return the organization of this slug."""
    return (await connection.execute(select(organizations).where(organizations.c.slug == slug))).one_or_none()


async def lock_first_steps(connection: AsyncConnection) -> None:
    """Let no other process make the first organization until this transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('runflow first steps'))"))
