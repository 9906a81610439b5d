"""Rules of members: an organization that has an owner keeps one, and who leaves takes no key along."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.keys import queries as keys
from runflow.accounts.organizations import queries
from runflow.accounts.organizations.limits import Limited, require_place
from runflow.accounts.organizations.queries import MEMBER_LIST
from runflow.accounts.organizations.schemas import CreateMember, Member, PatchMember, Role
from runflow.accounts.organizations.service import require_own
from runflow.db.transaction import Transaction, Violation
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services


async def list_page(services: Services, caller: Principal, org_id: UUID, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's members. Raises `OrganizationNotFound`."""
    require_own(caller, org_id)
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, MEMBER_LIST, query, queries.MEMBERS, row=queries.MemberRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(
    services: Services, caller: Principal, org_id: UUID, member_id: UUID, query: RecordQuery
) -> dict[str, Any]:
    """Return a member. Raises `OrganizationNotFound`, `MemberNotFound` or `InvalidField`."""
    check_projection(query, MEMBER_LIST.response_fields, MEMBER_LIST.embeds)
    require_own(caller, org_id)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.get(transaction, member_id)
    if row is None:
        raise errors.MemberNotFound
    return project(record(row), query)


async def add(services: Services, caller: Principal, org_id: UUID, body: CreateMember) -> dict[str, Any]:
    """Add a person to the organization.

    Raises `OrganizationNotFound`, `Conflict` when it is a member already, `LimitReached` when there are too many.
    """
    require_own(caller, org_id)
    with _no_second_membership(body):
        async with services.db.tenant(caller.org_id) as transaction:
            await require_place(transaction, services.settings, org_id, Limited.MEMBERS)
            row = await _insert(transaction, org_id, body, created_by=caller.key_id)
            details = {"email": body.email, "role_code": body.role_code}
            await recorder.record(transaction, caller, "member.created", "member", row.id, details)
    return record(row)


async def add_by_operator(transaction: Transaction, org_id: UUID, body: CreateMember) -> dict[str, Any]:
    """Add a person to the organization that the transaction sees. Raises `Conflict` when it is a member already."""
    with _no_second_membership(body):
        row = await _insert(transaction, org_id, body, created_by=None)
    details = {"email": body.email, "role_code": body.role_code}
    await recorder.record_operator(transaction, org_id, "member.created", "member", row.id, details)
    return record(row)


async def change(
    services: Services, caller: Principal, org_id: UUID, member_id: UUID, body: PatchMember
) -> dict[str, Any]:
    """Change a member. Raises `OrganizationNotFound`, `MemberNotFound`, or `Conflict` for the last owner's role."""
    require_own(caller, org_id)
    values = body.model_dump(exclude_unset=True)
    async with services.db.tenant(caller.org_id) as transaction:
        if values.get("role_code", Role.OWNER) is not Role.OWNER:
            _keep_an_owner(await queries.lock_owners(transaction), member_id)
        row = await (
            queries.change_member(transaction, member_id, values) if values else queries.get(transaction, member_id)
        )
        if row is None:
            raise errors.MemberNotFound
        if values:
            details = {"changed": sorted(values), "role_code": row.role_code}
            await recorder.record(transaction, caller, "member.updated", "member", member_id, details)
    return record(row)


async def remove(services: Services, caller: Principal, org_id: UUID, member_id: UUID) -> None:
    """Remove a member, and revoke the keys that belong to it.

    Raises `OrganizationNotFound`, `MemberNotFound`, or `Conflict` for the last owner.
    """
    require_own(caller, org_id)
    async with services.db.tenant(caller.org_id) as transaction:
        left = await _take_away(transaction, member_id)
        await recorder.record(transaction, caller, "member.deleted", "member", member_id, left.details())
    services.hub.publish("key")


async def remove_by_operator(transaction: Transaction, org_id: UUID, email: str) -> "Removed":
    """Remove the member with this address, and revoke its keys, in the organization that the transaction sees.

    Raises `MemberNotFound`, or `Conflict` for the last owner.
    """
    member_id = await queries.member_with(transaction, email)
    if member_id is None:
        raise errors.MemberNotFound(f"{email} is no member of this organization.")
    left = await _take_away(transaction, member_id)
    await recorder.record_operator(transaction, org_id, "member.deleted", "member", member_id, left.details())
    return left


@dataclass(frozen=True, slots=True)
class Removed:
    """What a member left behind."""

    revoked: list[UUID]
    """Its keys: they work no more."""
    made_with_them: list[UUID]
    """Keys of the organization that were made with these, and still work."""

    def details(self) -> dict[str, list[str]]:
        """Return it as the audit event keeps it."""
        return {
            "revoked_api_keys": [str(one) for one in self.revoked],
            "made_with_them": [str(one) for one in self.made_with_them],
        }


async def _insert(
    transaction: Transaction, org_id: UUID, body: CreateMember, *, created_by: UUID | None
) -> queries.MemberRow:
    values = {
        **body.model_dump(exclude={"email"}),
        "id": new_id(),
        "org_id": org_id,
        "user_id": await queries.user_of(transaction, body.email, user_id(body.email)),
        "created_by": created_by,
    }
    return await queries.add_member(transaction, values)


@contextlib.contextmanager
def _no_second_membership(body: CreateMember) -> Iterator[None]:
    try:
        yield
    except Violation:
        raise errors.Conflict(
            f"{body.email} is a member of this organization already; change that membership."
        ) from None


async def _take_away(transaction: Transaction, member_id: UUID) -> Removed:
    _keep_an_owner(await queries.lock_owners(transaction), member_id)
    user = await queries.remove(transaction, member_id)
    if user is None:
        raise errors.MemberNotFound
    revoked = await keys.revoke_of_user(transaction, user)
    left = Removed(revoked, await keys.made_with(transaction, revoked))
    await keys.announce_change(transaction)
    return left


def user_id(email: str) -> UUID:
    """Return the id of the person with this address: made of the address, so that it is the same in every organization
    and tells nobody whether another organization knows that person. (The time in a UUIDv7 would.)
    """
    return uuid5(NAMESPACE_URL, f"mailto:{email}")


def _keep_an_owner(owners: set[UUID], leaving: UUID) -> None:
    if owners == {leaving}:
        raise errors.Conflict("This is the organization's last owner. Make another member an owner first.")


def record(row: queries.MemberRow) -> dict[str, Any]:
    """Return a member as the wire shows it."""
    return {name: getattr(row, name) for name in Member.model_fields}
