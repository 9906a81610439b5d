"""Members: one person in several organizations, an owner who stays, and keys that leave with their member."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import open_client
from tests.support.members import add_member, key_of, somebody, works


async def test_a_member_is_added_listed_changed_and_removed(client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    path, email = f"/v1/organizations/{org['id']}/members", somebody()
    made = await add_member(client, org, email, first_name="Ada", last_name="Lovelace")
    assert (made["email"], made["role_code"], made["first_name"], made["org_id"]) == (email, "member", "Ada", org["id"])
    assert (await client.get(f"{path}/{made['id']}")).json() == made
    listed = (await client.get(path, params={"q": f"email:'{email}'", "sort_by": "email:asc"})).json()["items"]
    assert listed == [made]
    changed = await client.patch(f"{path}/{made['id']}", json={"role_code": "admin", "last_name": None})
    assert changed.status_code == 200
    assert (changed.json()["role_code"], changed.json()["first_name"], changed.json()["last_name"]) == (
        "admin",
        "Ada",
        None,
    )
    assert (await client.delete(f"{path}/{made['id']}")).status_code == 204
    assert (await client.get(f"{path}/{made['id']}")).json()["code"] == "MEMBER_NOT_FOUND"
    assert (await client.delete(f"{path}/{made['id']}")).status_code == 404


async def test_a_person_is_a_member_once(client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    email = somebody()
    await add_member(client, org, email)
    answer = await client.post(f"/v1/organizations/{org['id']}/members", json={"email": email.upper()})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


async def test_one_person_in_two_organizations_is_one_user_but_each_says_its_own_of_them(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, org: dict[str, Any]
) -> None:
    theirs = (await other_client.get("/v1/organizations")).json()["items"][0]
    email = somebody()
    mine = await add_member(client, org, email, first_name="Ada", role_code="owner")
    other = await add_member(other_client, theirs, email)
    assert mine["user_id"] == other["user_id"]
    assert (other["first_name"], other["role_code"]) == (None, "member")


async def test_nobody_learns_whether_another_organization_knows_a_person(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, org: dict[str, Any]
) -> None:
    theirs = (await other_client.get("/v1/organizations")).json()["items"][0]
    known, unknown = somebody(), somebody()
    await add_member(client, org, known.title())
    for email in (known, unknown):
        made = await add_member(other_client, theirs, email.upper())
        assert made["email"] == email, "not the spelling of whoever wrote it first"
        assert UUID(made["user_id"]).version == 5, "no time of birth in it"


async def test_the_last_owner_stays(client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    path = f"/v1/organizations/{org['id']}/members"
    first = await add_member(client, org, somebody(), role_code="owner")
    for answer in (
        await client.delete(f"{path}/{first['id']}"),
        await client.patch(f"{path}/{first['id']}", json={"role_code": "admin"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert (await client.patch(f"{path}/{first['id']}", json={"role_code": "owner"})).status_code == 200
    await add_member(client, org, somebody(), role_code="owner")
    assert (await client.delete(f"{path}/{first['id']}")).status_code == 204


async def test_two_owners_that_leave_at_once_leave_one_behind(client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    path = f"/v1/organizations/{org['id']}/members"
    for _ in range(5):
        owners = [await add_member(client, org, somebody(), role_code="owner") for _ in range(2)]
        answers = await asyncio.gather(*(client.delete(f"{path}/{owner['id']}") for owner in owners))
        assert sorted(answer.status_code for answer in answers) in ([204, 204], [204, 409])
        left = (await client.get(path, params={"q": "role_code:owner"})).json()["items"]
        assert len(left) >= 1


async def test_the_keys_of_a_member_end_with_the_membership(
    client: httpx.AsyncClient, org: dict[str, Any], services: Services, elsewhere: Services
) -> None:
    await add_member(client, org, somebody(), role_code="owner")
    member = await add_member(client, org, somebody())
    key, other = await key_of(client, member), await client.post("/v1/api-keys", json={"name": "of nobody"})
    assert await works(services, key["key"])
    async with open_client(services, key["key"]) as holder:
        made = (await holder.post("/v1/api-keys", json={"name": "a program's"})).json()
    assert (await client.delete(f"/v1/organizations/{org['id']}/members/{member['id']}")).status_code == 204
    event = (await client.get("/v1/audit-events?q=action_code:member.deleted")).json()["items"][0]
    assert event["details"] == {"revoked_api_keys": [key["id"]], "made_with_them": [made["id"]]}
    assert not await works(services, key["key"]) and not await works(elsewhere, key["key"])
    assert await works(services, other.json()["key"])
    assert (await client.get(f"/v1/api-keys/{key['id']}")).json()["revoked_at"] is not None


async def test_a_key_belongs_to_members_only(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    theirs = (await other_client.get("/v1/organizations")).json()["items"][0]
    stranger = await add_member(other_client, theirs, somebody())
    for user_id in (stranger["user_id"], str(new_id())):
        answer = await client.post("/v1/api-keys", json={"name": "x", "user_id": user_id})
        assert answer.status_code == 422 and answer.json()["errors"][0]["loc"] == ["body", "user_id"]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_another_organization_s_members_are_not_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, org: dict[str, Any], method: str
) -> None:
    member = await add_member(client, org, somebody(), role_code="owner")
    theirs = (await other_client.get("/v1/organizations")).json()["items"][0]
    body = {"email": somebody()} if method == "POST" else {} if method == "PATCH" else None
    for org_id, code in ((org["id"], "ORGANIZATION_NOT_FOUND"), (theirs["id"], "MEMBER_NOT_FOUND")):
        path = f"/v1/organizations/{org_id}/members"
        if method != "POST":
            path += f"/{member['id']}"
        elif code == "MEMBER_NOT_FOUND":
            continue
        answer = await other_client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert (await client.get(f"/v1/organizations/{org['id']}/members/{member['id']}")).json() == member


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "nobody"},
        {"email": "a b@example.com"},
        {"email": "a@example.com\0"},
        {"email": "a@example.com", "role_code": "king"},
        {"email": "a@example.com", "first_name": ""},
        {"email": "a@example.com", "first_name": "a\0"},
        {"email": "a@example.com", "first_name": "\ud800"},
        {"email": "a@example.com", "surprise": 1},
    ],
)
async def test_bad_bodies_are_refused(client: httpx.AsyncClient, org: dict[str, Any], body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = await client.post(f"/v1/organizations/{org['id']}/members", content=content, headers=headers)
    assert answer.status_code in (400, 422), answer.text
