"""Who is calling: the person whose key it is, or the key itself (docs/api/organizations.md, "Who is calling")."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from runflow.keys import queries as keys
from runflow.orgs import member_queries, queries
from runflow.orgs.schemas import CallingKey, Me
from runflow.orgs.service import record as organization_record
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import RecordQuery, check_projection, project

EMBEDS = frozenset({"memberships", "organizations", "pending_invitations"})


async def me(services: Services, caller: Principal, query: RecordQuery) -> dict[str, Any]:
    """Return who is calling. Raises `InvalidField`."""
    check_projection(query, frozenset(Me.model_fields), EMBEDS)
    async with services.db.tenant(caller.org_id) as connection:
        organization = organization_record(await queries.own(connection))
        key = await keys.get(connection, caller.key_id)
        user_id = None if key is None else key.user_id
        member = None if user_id is None else await member_queries.of_user(connection, user_id)
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
        "api_key": {name: key._mapping[name] for name in CallingKey.model_fields},
    }
    return project(whole, query)


def _person(key: Row[Any], member: Row[Any] | None) -> dict[str, Any]:
    if member is None:
        # `.invalid` can never be somebody's address (RFC 2606); clients want a text here.
        return {"id": key.id, "email": f"{key.id}@keys.invalid", "first_name": key.name, "last_name": None}
    return {
        "id": member.user_id,
        "email": member.email,
        "first_name": member.first_name,
        "last_name": member.last_name,
    }
