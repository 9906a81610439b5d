"""The list of audit events: who, what, when, from where, and nobody else's."""

from typing import Any

import httpx

from runflow.accounts.keys import service as keys
from runflow.web.services import Services


async def events(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit-events", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_an_event_says_who_did_what_when_and_from_where(client: httpx.AsyncClient) -> None:
    me = (await client.get("/v1/auth/me")).json()
    made = await client.post("/v1/api-keys", json={"name": "ci", "scopes": []}, headers={"User-Agent": "curl/8"})
    (event,) = await events(client, q="action_code:api_key.created")
    assert event["actor_type"] == "api_key" and event["actor_id"] == me["api_key"]["id"]
    assert (event["target_type"], event["target_id"]) == ("api_key", made.json()["id"])
    assert (event["address"], event["user_agent"]) == ("127.0.0.1", "curl/8")
    assert event["request_id"] == made.headers["Runflow-Request-Id"]
    assert event["details"] == {"name": "ci", "scopes": []}
    assert made.json()["key"] not in str(event)


async def test_every_filter(client: httpx.AsyncClient) -> None:
    me = (await client.get("/v1/auth/me")).json()
    made = (await client.post("/v1/api-keys", json={"name": "ci"})).json()
    await client.delete(f"/v1/api-keys/{made['id']}")
    for query, count in {
        f"target_id:'{made['id']}'": 2,
        f"target_id:'{made['id']}' AND action_code:api_key.revoked": 1,
        f"actor_id:{me['api_key']['id']}": 2,
        "target_type:api_key": 2,
        "target_type:webhook": 0,
        "address:127.0.0.1": 2,
        "created_at >= 2020-01-01": 2,
        "created_at < 2020-01-01": 0,
        "actor_type:operator": 0,
    }.items():
        assert len(await events(client, q=query)) == count, query


async def test_events_of_others_are_not_there(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    await client.post("/v1/api-keys", json={"name": "ci"})
    assert await events(other_client) == []


async def test_what_was_refused_or_changed_nothing_is_not_recorded(client: httpx.AsyncClient) -> None:
    await client.post("/v1/api-keys", json={"name": ""})
    made = (await client.post("/v1/api-keys", json={"name": "ci"})).json()
    for _ in range(2):
        assert (await client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    assert [event["action_code"] for event in await events(client)] == ["api_key.revoked", "api_key.created"]


async def test_the_operator_s_actions_are_recorded_in_the_organization(
    client: httpx.AsyncClient, services: Services
) -> None:
    me = (await client.get("/v1/auth/me")).json()
    async with services.db.system() as connection:
        made = await keys.create_by_operator(
            connection, org_id=me["organization"]["id"], name="ops", scopes=["runs:read"]
        )
        assert await keys.revoke_by_operator(connection, made["id"]) == []
        assert await keys.revoke_by_operator(connection, made["id"]) == []
    found = await events(client, q="actor_type:operator", sort_by="created_at:asc,id:asc")
    assert [event["action_code"] for event in found] == ["api_key.created", "api_key.revoked"]
    assert {event["actor_id"] for event in found} == {None}
