"""Who is calling (docs/api/organizations.md, "Who is calling"), and whether it is the operator.

The operator's organization is the first one of the installation, which `runflow up` made. GPUs and workers serve every
organization, so only keys of this one may change or list them.
"""

from collections.abc import Mapping
from typing import Any

from runflow import errors
from runflow.accounts.keys import queries as keys
from runflow.accounts.keys.tables import ApiKeyRow
from runflow.accounts.organizations import queries
from runflow.accounts.organizations.schemas import CallingKey, Me
from runflow.accounts.organizations.service import record as organization_record
from runflow.db.transaction import Transaction
from runflow.web.auth import Principal
from runflow.web.lists import RecordQuery, check_projection, project
from runflow.web.services import Services

EMBEDS = frozenset({"memberships", "organizations", "pending_invitations"})


async def me(services: Services, caller: Principal, query: RecordQuery) -> dict[str, Any]:
    """Return who is calling. Raises `InvalidField`."""
    check_projection(query, frozenset(Me.model_fields), EMBEDS)
    async with services.db.tenant(caller.org_id) as transaction:
        organization = organization_record(await queries.own(transaction))
        key = await keys.get(transaction, caller.key_id)
        user_id = None if key is None else key.user_id
        member = None if user_id is None else await queries.of_user(transaction, user_id)
    if key is None:
        raise RuntimeError("The key of this request is gone, though keys are never deleted.")
    role_code = None if member is None else member.role_code
    embeds: Mapping[str, list[Any]] = {
        "memberships": [{"org": organization, "role_code": role_code, "scopes": sorted(caller.scopes)}],
        "organizations": [organization],
        "pending_invitations": [],
    }
    whole = {
        **_person(key, member),
        **dict.fromkeys(("avatar_url", "timezone", "locale_code", "email_verified_at")),
        **{name: value if name in query.embed else None for name, value in embeds.items()},
        "organization": organization,
        "api_key": {name: getattr(key, name) for name in CallingKey.model_fields},
    }
    return project(whole, query)


def _person(key: ApiKeyRow, member: queries.MemberRow | None) -> dict[str, Any]:
    if member is None:
        # `.invalid` can never be somebody's address (RFC 2606); clients want a text here.
        return {"id": key.id, "email": f"{key.id}@keys.invalid", "first_name": key.name, "last_name": None}
    return {
        "id": member.user_id,
        "email": member.email,
        "first_name": member.first_name,
        "last_name": member.last_name,
    }


async def is_operator(transaction: Transaction, caller: Principal) -> bool:
    """Tell whether the caller's key belongs to the operator's organization."""
    first = await queries.first(transaction)
    return first is not None and first.id == caller.org_id


async def require_operator(transaction: Transaction, caller: Principal) -> None:
    """Raise `PermissionDenied` unless the caller's key belongs to the operator's organization."""
    first = await queries.first(transaction)
    if first is None or first.id != caller.org_id:
        raise errors.PermissionDenied(
            "This belongs to the whole installation: only API keys of the operator's organization "
            f"({first.slug if first is not None else 'the first one'}) may use this route."
        )
