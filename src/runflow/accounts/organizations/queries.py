"""SQL of organizations, their members and limits, and what their lists can be filtered and sorted by."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Result, Row, Select, delete, func, insert, select, text, update

from runflow.accounts.organizations.schemas import Member, Organization, Role
from runflow.accounts.organizations.tables import members, organizations, users
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec


async def add(connection: Transaction, *, org_id: UUID, slug: str, name: str) -> None:
    """Insert an organization, as the system role."""
    await connection.execute(insert(organizations).values(id=org_id, slug=slug, name=name))


async def make(connection: Transaction, *, org_id: UUID, slug: str, name: str) -> Row[Any]:
    """Insert an organization as a tenant, be that tenant for the rest of the transaction, and return its row."""
    values = {"id": org_id, "slug": slug, "name": name}
    await connection.execute(text("SELECT make_organization(:id, :slug, :name)"), values)
    await act_as(connection, org_id)
    return (await connection.execute(select(organizations))).one()


async def act_as(connection: Transaction, org_id: UUID) -> None:
    """Be another tenant for the rest of the transaction: for the one that made it, in the transaction that makes it."""
    await connection.execute(text("SELECT set_config('runflow.org', :org, true)"), {"org": str(org_id)})


async def own(connection: Transaction) -> Row[Any]:
    """Return the organization that this tenant's transaction is of."""
    return (await connection.execute(select(organizations))).one()


async def change(connection: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Change the organization of this tenant's transaction and return its row."""
    statement = update(organizations).values(**values, updated_at=text("now()")).returning(*organizations.c)
    return (await connection.execute(statement)).one()


async def every(connection: Transaction) -> Sequence[Row[Any]]:
    """Return all organizations, the oldest first."""
    return (await connection.execute(select(organizations).order_by(organizations.c.created_at))).all()


async def first(connection: Transaction) -> Row[Any] | None:
    """Return the oldest organization, the one that `runflow up` made."""
    return (await connection.execute(select(organizations).order_by(organizations.c.created_at).limit(1))).one_or_none()


async def by_slug(connection: Transaction, slug: str) -> Row[Any] | None:
    """Return the organization of this slug."""
    return (await connection.execute(select(organizations).where(organizations.c.slug == slug))).one_or_none()


async def lock_first_steps(connection: Transaction) -> None:
    """Let no other process make the first organization until this transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('runflow first steps'))"))


MEMBERS: Select[Any] = select(*members.c, users.c.email).join(users, users.c.id == members.c.user_id)
"""Members with the address of their user."""


async def user_of(connection: Transaction, email: str, fresh: UUID) -> UUID:
    """Return the user with this address, made as `fresh` if there is none yet."""
    found: UUID = (await connection.execute(select(func.user_of(email, fresh)))).scalar_one()
    return found


async def add_member(connection: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Insert a member and return it."""
    await connection.execute(insert(members).values(**values))
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.id == values["id"]))
    return result.one()


async def get(connection: Transaction, member_id: UUID) -> Row[Any] | None:
    """Return a member."""
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.id == member_id))
    return result.one_or_none()


async def of_user(connection: Transaction, user_id: UUID) -> Row[Any] | None:
    """Return a user's membership."""
    result: Result[Any] = await connection.execute(MEMBERS.where(members.c.user_id == user_id))
    return result.one_or_none()


async def lock_owners(connection: Transaction) -> set[UUID]:
    """Return the members that are owners now, and let nobody change them until this transaction ends."""
    statement = select(members.c.id).where(members.c.role_code == "owner").order_by(members.c.id).with_for_update()
    return set((await connection.execute(statement)).scalars())


async def change_member(connection: Transaction, member_id: UUID, values: Mapping[str, Any]) -> Row[Any] | None:
    """Change a member and return it; None when there is no such member."""
    statement = update(members).where(members.c.id == member_id).values(**values, updated_at=text("now()"))
    await connection.execute(statement)
    return await get(connection, member_id)


async def remove(connection: Transaction, member_id: UUID) -> UUID | None:
    """Delete a member and return whose membership it was; None when there is no such member."""
    statement = delete(members).where(members.c.id == member_id).returning(members.c.user_id)
    return (await connection.execute(statement)).scalar_one_or_none()


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


async def lock(connection: Transaction, org_id: UUID, what: str) -> None:
    """Let nobody else add one of these to this organization until the transaction ends."""
    await connection.execute(_LOCK, {"what": what, "org": str(org_id)})


async def count(connection: Transaction, what: str) -> int:
    """Return how many of these the tenant has; keys that are revoked or at their end do not count."""
    return int((await connection.execute(_COUNTS[what])).scalar_one())


async def stored_bytes(connection: Transaction) -> int:
    """Return how many bytes the tenant's uploads and models have, with those that were only declared so far."""
    return int((await connection.execute(_STORED)).scalar_one())


async def count_organizations(connection: Transaction) -> int:
    """Return how many organizations the installation has."""
    return int((await connection.execute(select(func.count_organizations()))).scalar_one())


ORGANIZATION_LIST = ListSpec(
    from_=organizations,
    fields=(
        ListField("id", organizations.c.id, FieldKind.UUID),
        ListField("name", organizations.c.name, FieldKind.STRING),
        ListField("slug", organizations.c.slug, FieldKind.STRING),
        ListField("plan_code", organizations.c.plan_code, FieldKind.STRING),
        ListField("created_at", organizations.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", organizations.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Organization.model_fields),
)

MEMBER_LIST = ListSpec(
    from_=members.join(users, users.c.id == members.c.user_id),
    fields=(
        ListField("id", members.c.id, FieldKind.UUID),
        ListField("user_id", members.c.user_id, FieldKind.UUID),
        ListField("email", users.c.email, FieldKind.STRING),
        ListField("role_code", members.c.role_code, FieldKind.ENUM, choices=tuple(Role)),
        ListField("first_name", members.c.first_name, FieldKind.STRING, nullable=True),
        ListField("last_name", members.c.last_name, FieldKind.STRING, nullable=True),
        ListField("created_by", members.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", members.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", members.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Member.model_fields),
)
