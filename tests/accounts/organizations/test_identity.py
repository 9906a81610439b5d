"""Who is calling: a member's key answers as the member, any other as itself."""

from typing import Any

import httpx

from runflow.web.services import Services
from tests.support.application import open_client
from tests.support.members import add_member, key_of, somebody

NULLABLE = ("avatar_url", "timezone", "locale_code", "email_verified_at")


async def test_a_key_of_nobody_is_itself(client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    me = (await client.get("/v1/auth/me")).json()
    assert me["id"] == me["api_key"]["id"] and me["email"] == f"{me['id']}@keys.invalid"
    assert me["first_name"] == me["api_key"]["name"] == "test" and me["last_name"] is None
    assert {name: me[name] for name in NULLABLE} == dict.fromkeys(NULLABLE)
    assert (me["memberships"], me["organizations"], me["pending_invitations"]) == (None, None, None)
    assert me["organization"] == org and "runs:create" in me["api_key"]["scopes"]


async def test_a_member_s_key_is_the_member(client: httpx.AsyncClient, org: dict[str, Any], services: Services) -> None:
    email = somebody()
    member = await add_member(client, org, email, first_name="Ada", role_code="owner")
    key = await key_of(client, member, scopes=["runs:read"])
    async with open_client(services, key["key"]) as theirs:
        answer = await theirs.get("/v1/auth/me", params={"embed": "memberships,organizations,pending_invitations"})
    me = answer.json()
    assert (me["id"], me["email"], me["first_name"]) == (member["user_id"], email, "Ada")
    assert me["memberships"] == [{"org": org, "role_code": "owner", "scopes": ["runs:read"]}]
    assert (me["organizations"], me["pending_invitations"]) == ([org], [])
    assert {"id", "name", "slug", "plan_code"} <= set(me["memberships"][0]["org"])


async def test_projection_and_unknown_embeds(client: httpx.AsyncClient) -> None:
    assert set((await client.get("/v1/auth/me", params={"fields": "id,email"})).json()) == {"id", "email"}
    assert (await client.get("/v1/auth/me", params={"embed": "secrets"})).json()["code"] == "INVALID_FIELD"
