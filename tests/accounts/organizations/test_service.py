"""Organizations over HTTP: made with a first key, seen by their own keys only."""

from typing import Any

import httpx
import pytest
from psycopg.errors import InsufficientPrivilege

from runflow.accounts.keys.scopes import ALL_SCOPES, tenant_scopes
from runflow.accounts.organizations import queries
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client, operator_org


def slug() -> str:
    return f"acme-{new_id().hex[-12:]}"


async def test_a_new_organization_is_apart_and_has_a_key_of_its_own(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, services: Services, org: dict[str, Any]
) -> None:
    name = slug()
    answer = await operator.post("/v1/organizations", json={"name": f"Acme, {name}", "slug": name})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["slug"], made["plan_code"], made["name"]) == (name, "self-hosted", f"Acme, {name}")
    assert sorted(made["api_key"]["scopes"]) == sorted(tenant_scopes(ALL_SCOPES))
    assert made["api_key"]["org_id"] == made["id"]
    async with open_client(services, made["api_key"]["key"]) as theirs:
        assert [one["id"] for one in (await theirs.get("/v1/organizations")).json()["items"]] == [made["id"]]
        assert (await theirs.get(f"/v1/organizations/{org['id']}")).json()["code"] == "ORGANIZATION_NOT_FOUND"
    assert [one["id"] for one in (await client.get("/v1/organizations")).json()["items"]] == [org["id"]]
    assert (await client.get(f"/v1/organizations/{made['id']}")).status_code == 404
    assert (await client.get(f"/v1/organizations/{org['id']}")).json() == org


async def test_its_key_holds_no_more_than_its_maker(services: Services, make_key: MakeKey) -> None:
    scopes, org = ("organizations:create", "runs:read"), await operator_org(services)
    async with open_client(services, await make_key(scopes=scopes, org=org)) as weak:
        made = (await weak.post("/v1/organizations", json={"name": slug()})).json()
    assert made["api_key"]["scopes"] == ["runs:read"]


@pytest.mark.parametrize("scopes", [ALL_SCOPES, tuple(tenant_scopes(ALL_SCOPES)), ()])
async def test_only_the_operator_s_organization_makes_others(
    services: Services, make_key: MakeKey, scopes: tuple[str, ...]
) -> None:
    """An organization has limits and a budget: a second one of its own making would have them anew."""
    await operator_org(services)
    name = slug()
    async with open_client(services, await make_key(scopes=scopes, org=await new_org(services))) as tenant:
        answer = await tenant.post("/v1/organizations", json={"name": name, "slug": name})
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
        assert "operator's organization" in answer.json()["message"]
    async with services.db.system() as transaction:
        assert await queries.by_slug(transaction, name) is None


async def test_a_first_key_gives_the_scope_to_no_other(services: Services, operator: httpx.AsyncClient) -> None:
    made = (await operator.post("/v1/organizations", json={"name": slug()})).json()
    async with open_client(services, made["api_key"]["key"]) as tenant:
        wanted = {"name": "x", "scopes": ["organizations:create"]}
        assert (await tenant.post("/v1/api-keys", json=wanted)).status_code == 403
        assert (await tenant.post("/v1/organizations", json={"name": slug()})).status_code == 403


async def test_the_database_itself_refuses_it_to_a_tenant(services: Services) -> None:
    await operator_org(services)
    with pytest.raises(InsufficientPrivilege, match="operator"):
        async with services.db.tenant(await new_org(services)) as transaction:
            await queries.make(transaction, org_id=new_id(), slug=slug(), name="x")


async def test_a_taken_slug_is_a_conflict_and_leaves_nothing(operator: httpx.AsyncClient) -> None:
    name = slug()
    assert (await operator.post("/v1/organizations", json={"name": "a", "slug": name})).status_code == 201
    answer = await operator.post("/v1/organizations", json={"name": "b", "slug": name})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert (await operator.get("/v1/organizations")).status_code == 200


async def test_with_an_idempotency_key_it_is_made_once_and_its_key_not_shown_again(operator: httpx.AsyncClient) -> None:
    header, body = {"Idempotency-Key": new_id().hex}, {"name": "a", "slug": slug()}
    answers = [await operator.post("/v1/organizations", json=body, headers=header) for _ in range(2)]
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


async def test_the_operator_s_transaction_goes_on_as_itself_after_making_one(operator: httpx.AsyncClient) -> None:
    """In a unit of work what follows belongs to the caller again: its own idempotency row proves it."""
    header, name = {"Idempotency-Key": new_id().hex}, slug()
    made = await operator.post("/v1/organizations", json={"name": name}, headers=header)
    assert made.status_code == 201
    query = f"action_code:organization.created AND target_id:'{made.json()['id']}'"
    assert len((await operator.get("/v1/audit-events", params={"q": query})).json()["items"]) == 1
    assert (await operator.post("/v1/organizations", json={"name": name}, headers=header)).status_code == 409
