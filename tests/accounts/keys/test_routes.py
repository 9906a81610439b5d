"""API keys over HTTP: shown once, never more than their maker, revoked at once everywhere."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow import errors
from runflow.accounts.keys.schemas import CreateApiKey
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.accounts.keys.service import create_for
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.application import MakeKey, open_client


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/api-keys", json={"name": "ci", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_key_is_shown_once_and_works(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client, scopes=["runs:read"])
    assert made["key"].startswith("rf_live_") and len(made["key"]) == 48
    assert made["scopes"] == ["runs:read"]
    listed = (await client.get("/v1/api-keys", params={"q": f"id:{made['id']}"})).json()["items"]
    assert [key["name"] for key in listed] == ["ci"]
    assert "key" not in listed[0] and "key_hash" not in listed[0]
    async with open_client(services, made["key"]) as limited:
        assert (await limited.get("/v1/comfyui-workflows")).json()["code"] == "PERMISSION_DENIED"


async def test_a_key_cannot_give_what_it_does_not_hold(services: Services, make_key: MakeKey) -> None:
    async with open_client(services, await make_key(scopes=("api-keys:create", "runs:read"))) as weak:
        assert (await weak.post("/v1/api-keys", json={"name": "x", "scopes": ["runs:create"]})).status_code == 403
        assert (await create(weak))["scopes"] == ["api-keys:create", "runs:read"]


async def test_a_revoked_key_stops_at_once_on_this_process(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client)
    async with open_client(services, made["key"]) as held:
        assert (await held.get("/v1/api-keys")).status_code == 200
    assert (await client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    async with open_client(services, made["key"]) as revoked:
        answer = await revoked.get("/v1/comfyui-workflows")
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert (await client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204


async def test_an_expired_key_is_refused_though_it_is_remembered(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(client, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    at = end = datetime.fromisoformat(made["expires_at"]).timestamp()
    monkeypatch.setattr("runflow.accounts.keys.authenticator.time", SimpleNamespace(time=lambda: at))
    async with open_client(services, made["key"]) as held:
        at = end - 0.001
        assert (await held.get("/v1/api-keys")).status_code == 200
        at = end + 0.001
        for _ in range(2):
            answer = await held.get("/v1/api-keys")
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")


async def test_a_key_cannot_outlive_or_outrun_itself_by_another(client: httpx.AsyncClient, services: Services) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    limited = await create(client, expires_at=end, rate_limit_per_second=50)
    async with open_client(services, limited["key"]) as held:
        child = await create(held)
        assert (child["expires_at"], child["rate_limit_per_second"]) == (limited["expires_at"], 50)
        assert (await create(held, rate_limit_per_second=5))["rate_limit_per_second"] == 5
        later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        for more in ({"expires_at": later}, {"rate_limit_per_second": 51}):
            answer = await held.post("/v1/api-keys", json={"name": "x", **more})
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(("servers", "allowed"), [(200, 200), (0, 1_000_000)])
async def test_a_key_held_to_the_servers_limit_makes_none_that_is_not(
    client: httpx.AsyncClient, services: Services, servers: int, allowed: int
) -> None:
    held = Principal(UUID((await create(client))["id"]), UUID((await create(client))["org_id"]), "x", frozenset())
    limiting = replace(services, settings=services.settings.model_copy(update={"rate_limit": servers}))
    made = await create_for(limiting, held, CreateApiKey(name="x", rate_limit_per_second=allowed))
    assert made["rate_limit_per_second"] == allowed
    if servers:
        with pytest.raises(errors.PermissionDenied):
            await create_for(limiting, held, CreateApiKey(name="x", rate_limit_per_second=servers + 1))


async def test_one_key_is_read_without_its_secret(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    made = await create(client)
    answer = await client.get(f"/v1/api-keys/{made['id']}")
    assert answer.json() == {name: value for name, value in made.items() if name != "key"}
    assert made["key"].startswith(made["key_prefix"]) and len(made["key_prefix"]) == 12
    assert (await client.get(f"/v1/api-keys/{made['id']}", params={"fields": "name"})).json() == {"name": "ci"}
    assert (await other_client.get(f"/v1/api-keys/{made['id']}")).json()["code"] == "API_KEY_NOT_FOUND"


async def test_two_keys_may_have_one_name_so_that_one_can_replace_the_other(client: httpx.AsyncClient) -> None:
    assert (await create(client))["id"] != (await create(client))["id"]


async def test_a_key_says_which_key_made_it(client: httpx.AsyncClient) -> None:
    me = (await client.get("/v1/auth/me")).json()["api_key"]
    assert (await create(client))["created_by"] == me["id"]


async def test_a_foreign_key_is_not_found(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    made = await create(client)
    answer = await other_client.delete(f"/v1/api-keys/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "API_KEY_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a\0b"},
        {"name": "x", "scopes": ["nothing:read"]},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00+00:00"},
        {"name": "x", "expires_at": "2030-01-01T00:00:00"},
        {"name": "x", "rate_limit_per_second": 0},
        {"name": "x", "user_id": "nobody"},
        {"name": "x", "surprise": 1},
    ],
)
async def test_bad_bodies_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/v1/api-keys", json=body)).status_code == 422


async def test_last_use_is_noted(client: httpx.AsyncClient, services: Services) -> None:
    await client.get("/v1/api-keys")
    await services.authenticator.note_use()
    items = (await client.get("/v1/api-keys")).json()["items"]
    assert items[0]["last_used_at"].endswith("+00:00")


def test_there_is_a_scope_for_every_action() -> None:
    assert len(set(ALL_SCOPES)) == len(ALL_SCOPES)
    assert all(scope.count(":") == 1 for scope in ALL_SCOPES)


async def test_what_was_made_with_a_revoked_key_stays_and_is_named(
    operator: httpx.AsyncClient, services: Services
) -> None:
    parent = (await operator.post("/v1/api-keys", json={"name": "parent"})).json()
    async with open_client(services, parent["key"]) as holder:
        child = (await holder.post("/v1/api-keys", json={"name": "child"})).json()
        ended = (await holder.post("/v1/api-keys", json={"name": "ended"})).json()
        await holder.delete(f"/v1/api-keys/{ended['id']}")
        organization = (await holder.post("/v1/organizations", json={"name": f"Made {parent['id'][-12:]}"})).json()
    async with open_client(services, child["key"]) as holder:
        grandchild = (await holder.post("/v1/api-keys", json={"name": "grandchild"})).json()
    assert (await operator.delete(f"/v1/api-keys/{parent['id']}")).status_code == 204
    async with open_client(services, grandchild["key"]) as holder:
        assert (await holder.get("/v1/auth/me")).status_code == 200
    events = (await operator.get("/v1/audit-events")).json()["items"]
    revoked = next(
        event for event in events if event["target_id"] == parent["id"] and "revoked" in event["action_code"]
    )
    assert revoked["details"] == {"made_with_it": [child["id"], grandchild["id"]]}
    assert organization["api_key"]["created_by"] == parent["id"]
    made = next(event for event in events if event["action_code"] == "organization.created")
    assert made["details"]["api_key_id"] == organization["api_key"]["id"]
