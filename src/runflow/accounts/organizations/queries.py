"""SQL of organizations, their members and limits, and what their lists can be filtered and sorted by."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, insert, select, update

from runflow.accounts.organizations.schemas import Member, Organization, Role
from runflow.accounts.organizations.tables import OrganizationRow, members, organizations, users
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec


async def add(transaction: Transaction, *, org_id: UUID, slug: str, name: str) -> OrganizationRow:
    """Insert an organization, as the system role, and return its row."""
    statement = insert(organizations).values(id=org_id, slug=slug, name=name).returning(*organizations.c)
    return await transaction.one(statement, row=OrganizationRow)


async def make(transaction: Transaction, *, org_id: UUID, slug: str, name: str) -> OrganizationRow:
    """Insert an organization as the operator's, be that tenant for the rest of the transaction, and return its row.

    The database refuses it to every other tenant (`is_operator`).
    """
    values = {"id": org_id, "slug": slug, "name": name}
    await transaction.run("SELECT make_organization(%(id)s, %(slug)s, %(name)s)", values)
    await act_as(transaction, org_id)
    return await own(transaction)


async def act_as(transaction: Transaction, org_id: UUID) -> None:
    """Be another tenant for the rest of the transaction: for the one that made it, in the transaction that makes it."""
    await transaction.run("SELECT set_config('runflow.org', %(org)s, true)", {"org": str(org_id)})


async def own(transaction: Transaction) -> OrganizationRow:
    """Return the organization that this tenant's transaction is of."""
    return await transaction.one(select(organizations), row=OrganizationRow)


async def change(transaction: Transaction, values: Mapping[str, Any]) -> OrganizationRow:
    """Change the organization of this tenant's transaction and return its row."""
    statement = update(organizations).values(**values, updated_at=func.now()).returning(*organizations.c)
    return await transaction.one(statement, row=OrganizationRow)


async def every(transaction: Transaction) -> list[OrganizationRow]:
    """Return all organizations, the oldest first."""
    return await transaction.rows(select(organizations).order_by(organizations.c.created_at), row=OrganizationRow)


async def first(transaction: Transaction) -> OrganizationRow | None:
    """Return the oldest organization, the one that `runflow up` made."""
    statement = select(organizations).order_by(organizations.c.created_at, organizations.c.id).limit(1)
    return await transaction.first(statement, row=OrganizationRow)


async def is_operator(transaction: Transaction) -> bool:
    """Tell whether this tenant is the operator's organization, the first one."""
    return await transaction.one_value("SELECT is_operator()", of=bool)


async def by_slug(transaction: Transaction, slug: str) -> OrganizationRow | None:
    """Return the organization of this slug."""
    return await transaction.first(select(organizations).where(organizations.c.slug == slug), row=OrganizationRow)


async def lock_first_steps(transaction: Transaction) -> None:
    """Let no other process make the first organization until this transaction ends."""
    await transaction.run("SELECT pg_advisory_xact_lock(hashtext('runflow first steps'))")


MEMBERS: Select[Any] = select(*members.c, users.c.email).join(users, users.c.id == members.c.user_id)
"""Members with the address of their user."""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A row of `members`, with the address of its user."""

    id: UUID
    org_id: UUID
    user_id: UUID
    role_code: str
    first_name: str | None
    last_name: str | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    email: str


async def user_of(transaction: Transaction, email: str, fresh: UUID) -> UUID:
    """Return the user with this address, made as `fresh` if there is none yet."""
    parameters = {"email": email, "fresh": fresh}
    return await transaction.one_value("SELECT user_of(%(email)s, %(fresh)s)", parameters, of=UUID)


async def add_member(transaction: Transaction, values: Mapping[str, Any]) -> MemberRow:
    """Insert a member and return it."""
    await transaction.run(insert(members).values(**values))
    return await transaction.one(MEMBERS.where(members.c.id == values["id"]), row=MemberRow)


async def get(transaction: Transaction, member_id: UUID) -> MemberRow | None:
    """Return a member."""
    return await transaction.first(MEMBERS.where(members.c.id == member_id), row=MemberRow)


async def of_user(transaction: Transaction, user_id: UUID) -> MemberRow | None:
    """Return a user's membership."""
    return await transaction.first(MEMBERS.where(members.c.user_id == user_id), row=MemberRow)


async def member_with(transaction: Transaction, email: str) -> UUID | None:
    """Return the member of the tenant with this address."""
    statement = select(members.c.id).join(users, users.c.id == members.c.user_id)
    return await transaction.value(statement.where(func.lower(users.c.email) == email.lower()), of=UUID)


async def every_member(transaction: Transaction) -> list[MemberRow]:
    """Return the tenant's members, the oldest first."""
    return await transaction.rows(MEMBERS.order_by(members.c.created_at, members.c.id), row=MemberRow)


async def lock_owners(transaction: Transaction) -> set[UUID]:
    """Return the members that are owners now, and let nobody change them until this transaction ends."""
    return set(
        await transaction.values(
            "SELECT id FROM members WHERE role_code = 'owner' ORDER BY id FOR UPDATE",
            of=UUID,
        )
    )


async def change_member(transaction: Transaction, member_id: UUID, values: Mapping[str, Any]) -> MemberRow | None:
    """Change a member and return it; None when there is no such member."""
    await transaction.run(update(members).where(members.c.id == member_id).values(**values, updated_at=func.now()))
    return await get(transaction, member_id)


async def remove(transaction: Transaction, member_id: UUID) -> UUID | None:
    """Delete a member and return whose membership it was; None when there is no such member."""
    statement = delete(members).where(members.c.id == member_id).returning(members.c.user_id)
    return await transaction.value(statement, of=UUID)


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('limit ' || %(what)s || ' ' || CAST(%(org)s AS text), 0))"

# By the values of `limits.Limited`.
_COUNTS = {
    "API keys": (
        "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
    ),
    "members": "SELECT count(*) FROM members",
    "asset folders": "SELECT count(*) FROM asset_folders",
    "webhooks": "SELECT count(*) FROM webhooks",
}

_STORED = """
SELECT CAST(
       (SELECT coalesce(sum(size_bytes), 0) FROM assets WHERE deleted_at IS NULL OR purge_at IS NOT NULL)
     + (SELECT coalesce(sum(size_bytes), 0) FROM asset_uploads WHERE confirmed_at IS NULL)
     + (SELECT coalesce(sum(size_bytes), 0) FROM models)
     + (SELECT coalesce(sum(size_bytes), 0) FROM model_uploads WHERE confirmed_at IS NULL) AS bigint)
"""
"""Deleted assets count until `purge_at` has come and their objects are gone."""


async def lock(transaction: Transaction, org_id: UUID, what: str) -> None:
    """Let nobody else add one of these to this organization until the transaction ends."""
    await transaction.run(_LOCK, {"what": what, "org": str(org_id)})


async def count(transaction: Transaction, what: str) -> int:
    """Return how many of these the tenant has; keys that are revoked or at their end do not count."""
    return await transaction.one_value(_COUNTS[what], of=int)


async def stored_bytes(transaction: Transaction) -> int:
    """Return how many bytes the tenant's uploads and models have, with those that were only declared so far."""
    return await transaction.one_value(_STORED, of=int)


async def count_organizations(transaction: Transaction) -> int:
    """Return how many organizations the installation has."""
    return await transaction.one_value("SELECT count_organizations()", of=int)


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
