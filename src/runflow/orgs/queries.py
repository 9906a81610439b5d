"""SQL of organizations."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.orgs.tables import organizations


async def add(connection: AsyncConnection, *, org_id: UUID, slug: str, name: str) -> None:
    """Insert an organization, as the system role."""
    await connection.execute(insert(organizations).values(id=org_id, slug=slug, name=name))


async def make(connection: AsyncConnection, *, org_id: UUID, slug: str, name: str) -> Row[Any]:
    """Insert an organization as a tenant, be that tenant for the rest of the transaction, and return its row."""
    values = {"id": org_id, "slug": slug, "name": name}
    await connection.execute(text("SELECT make_organization(:id, :slug, :name)"), values)
    await act_as(connection, org_id)
    return (await connection.execute(select(organizations))).one()


async def act_as(connection: AsyncConnection, org_id: UUID) -> None:
    """Be another tenant for the rest of the transaction: for the one that made it, in the transaction that makes it."""
    await connection.execute(text("SELECT set_config('runflow.org', :org, true)"), {"org": str(org_id)})


async def own(connection: AsyncConnection) -> Row[Any]:
    """Return the organization that this tenant's transaction is of."""
    return (await connection.execute(select(organizations))).one()


async def change(connection: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    """Change the organization of this tenant's transaction and return its row."""
    statement = update(organizations).values(**values, updated_at=text("now()")).returning(*organizations.c)
    return (await connection.execute(statement)).one()


async def every(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Return all organizations, the oldest first."""
    return (await connection.execute(select(organizations).order_by(organizations.c.created_at))).all()


async def first(connection: AsyncConnection) -> Row[Any] | None:
    """Return the oldest organization, the one that `runflow up` made."""
    return (await connection.execute(select(organizations).order_by(organizations.c.created_at).limit(1))).one_or_none()


async def by_slug(connection: AsyncConnection, slug: str) -> Row[Any] | None:
    """Return the organization of this slug."""
    return (await connection.execute(select(organizations).where(organizations.c.slug == slug))).one_or_none()


async def lock_first_steps(connection: AsyncConnection) -> None:
    """Let no other process make the first organization until this transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('runflow first steps'))"))
