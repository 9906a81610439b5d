"""Organizations over HTTP: made with a first key, seen by their own keys only."""

from typing import Any

import httpx
import pytest

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client


def slug() -> str:
    return f"acme-{new_id().hex[-12:]}"


async def test_a_new_organization_is_apart_and_has_a_key_of_its_own(
    client: httpx.AsyncClient, services: Services, org: dict[str, Any]
) -> None:
    name = slug()
    answer = await client.post("/v1/organizations", json={"name": f"Acme, {name}", "slug": name})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["slug"], made["plan_code"], made["name"]) == (name, "self-hosted", f"Acme, {name}")
    assert sorted(made["api_key"]["scopes"]) == sorted(ALL_SCOPES) and made["api_key"]["org_id"] == made["id"]
    async with open_client(services, made["api_key"]["key"]) as theirs:
        assert [one["id"] for one in (await theirs.get("/v1/organizations")).json()["items"]] == [made["id"]]
        assert (await theirs.get(f"/v1/organizations/{org['id']}")).json()["code"] == "ORGANIZATION_NOT_FOUND"
    assert [one["id"] for one in (await client.get("/v1/organizations")).json()["items"]] == [org["id"]]
    assert (await client.get(f"/v1/organizations/{made['id']}")).status_code == 404
    assert (await client.get(f"/v1/organizations/{org['id']}")).json() == org


async def test_its_key_holds_no_more_than_its_maker(services: Services, make_key: MakeKey) -> None:
    async with open_client(services, await make_key(scopes=("organizations:create",))) as weak:
        made = (await weak.post("/v1/organizations", json={"name": slug()})).json()
    assert made["api_key"]["scopes"] == ["organizations:create"]


async def test_a_taken_slug_is_a_conflict_and_leaves_nothing(client: httpx.AsyncClient) -> None:
    name = slug()
    assert (await client.post("/v1/organizations", json={"name": "a", "slug": name})).status_code == 201
    answer = await client.post("/v1/organizations", json={"name": "b", "slug": name})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert (await client.get("/v1/organizations")).status_code == 200


async def test_with_an_idempotency_key_it_is_made_once_and_its_key_not_shown_again(client: httpx.AsyncClient) -> None:
    header, body = {"Idempotency-Key": new_id().hex}, {"name": "a", "slug": slug()}
    answers = [await client.post("/v1/organizations", json=body, headers=header) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert "Idempotency-Key" in answers[1].json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "\u3042"},
        {"name": "a", "slug": "categories"},
        {"name": "a", "slug": "any"},
        {"name": "a", "slug": "0197f3a0-0000-7000-8000-000000000000"},
        {"name": "a", "slug": "Upper"},
        {"name": "categories"},
        {"name": "a\0"},
    ],
)
async def test_bad_names_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/v1/organizations", json=body)).status_code == 422


async def test_renaming(client: httpx.AsyncClient, other_client: httpx.AsyncClient, org: dict[str, Any]) -> None:
    answer = await client.patch(f"/v1/organizations/{org['id']}", json={"name": "New name"})
    assert (answer.status_code, answer.json()["name"], answer.json()["slug"]) == (200, "New name", org["slug"])
    assert (await client.patch(f"/v1/organizations/{org['id']}", json={})).json() == answer.json()
    assert (await client.patch(f"/v1/organizations/{org['id']}", json={"slug": "x"})).status_code == 422
    assert (await other_client.patch(f"/v1/organizations/{org['id']}", json={"name": "Stolen"})).status_code == 404
    assert (await client.get(f"/v1/organizations/{org['id']}")).json()["name"] == "New name"


async def test_another_tenant_s_transaction_goes_on_as_itself_after_making_one(
    services: Services, make_key: MakeKey
) -> None:
    """In a unit of work what follows belongs to the caller again: its own idempotency row proves it."""
    org = await new_org(services)
    async with open_client(services, await make_key(org=org)) as client:
        header = {"Idempotency-Key": new_id().hex}
        assert (await client.post("/v1/organizations", json={"name": slug()}, headers=header)).status_code == 201
        events = (await client.get("/v1/audit-events", params={"q": "action_code:organization.created"})).json()[
            "items"
        ]
    assert len(events) == 1
