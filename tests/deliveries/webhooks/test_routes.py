"""Webhooks over HTTP: create, change, switch off and on, delete."""

import base64
import hashlib
import os
from typing import Any

import httpx
import pytest

from runflow.deliveries.webhooks.event_types import EVENT_TYPES
from runflow.ids import new_id
from runflow.web.services import Services

PATH = "/v1/webhooks"
URL = "https://hooks.example/runflow"


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def events(webhook: dict[str, Any]) -> list[str]:
    return [subscription["event_type_code"] for subscription in webhook["event_subscriptions"]]


async def test_a_webhook(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client, event_subscriptions=["run.completed", {"event_type_code": "run.failed"}], label="prod")
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert made["secret_fingerprint"] == hashlib.sha256(secret.encode()).hexdigest()[:16]
    assert (made["url"], made["label"], made["disabled_at"]) == (URL, "prod", None)
    assert events(made) == ["run.completed", "run.failed"]
    assert {subscription["webhook_id"] for subscription in made["event_subscriptions"]} == {made["id"]}
    assert (await client.get(f"{PATH}/{made['id']}")).json() == made
    assert (await client.get(PATH)).json()["items"] == [made]
    async with services.db.system() as transaction:
        stored = await transaction.one_value("SELECT secret FROM webhooks WHERE id = %(id)s", made, of=bytes)
    assert secret.encode() not in stored


async def test_subscriptions_are_all_some_or_none(client: httpx.AsyncClient) -> None:
    assert events(await create(client)) == list(EVENT_TYPES)
    assert events(await create(client, event_subscriptions=[])) == []
    assert events(await create(client, event_subscriptions=["run.failed"] * 3)) == ["run.failed"]


async def test_an_address_that_is_never_reached_is_refused_with_the_setting_that_allows_it(
    client: httpx.AsyncClient,
) -> None:
    webhook = await create(client)
    for answer in (
        await client.post(PATH, json={"url": "http://192.168.1.5:9000/hook"}),
        await client.patch(f"{PATH}/{webhook['id']}", json={"url": "http://192.168.1.5:9000/hook"}),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "url"])
        assert "RUNFLOW_ALLOWED_NETWORKS=192.168.1.5/32" in answer.json()["message"]
    assert (await create(client, url="http://localhost:9/"))["url"], "where the operator allows it"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://hooks.example/"}, "url"),
        ({"url": "https://user:pw@hooks.example/"}, "url"),
        ({"url": "not a url"}, "url"),
        ({"url": "https://hooks.example/\0"}, "url"),
        ({"url": None}, "url"),
        ({"url": "https://h.example/" + "x" * 2048}, "url"),
        ({"event_subscriptions": ["run.exploded"]}, "event_subscriptions"),
        ({"event_subscriptions": [{"event": "run.failed"}]}, "event_subscriptions"),
        ({"event_subscriptions": "run.failed"}, "event_subscriptions"),
        ({"secret": "hunter2"}, "secret"),
        ({"label": "x" * 256}, "label"),
        ({"label": "a\0b"}, "label"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_bad_fields_are_named(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.post(PATH, json={"url": URL, **body})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"][:2] == ["body", field]
    assert "hunter2" not in answer.text and "pw@" not in answer.json()["message"]


async def test_changes(client: httpx.AsyncClient) -> None:
    made = await create(client, event_subscriptions=["run.completed"])
    path = f"{PATH}/{made['id']}"
    changed = (await client.patch(path, json={"url": "https://other.example/", "label": "b"})).json()
    assert (changed["url"], changed["label"], events(changed)) == ("https://other.example/", "b", ["run.completed"])
    assert changed["secret_fingerprint"] == made["secret_fingerprint"]
    changed = (await client.patch(path, json={"event_subscriptions": ["run.failed"], "label": None})).json()
    assert (changed["label"], events(changed)) == (None, ["run.failed"])
    fresh = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    changed = (await client.patch(path, json={"secret": fresh})).json()
    assert "secret" not in changed and changed["previous_secret_until"] is not None
    assert changed["secret_fingerprint"] == hashlib.sha256(fresh.encode()).hexdigest()[:16]
    assert (await client.patch(path, json={})).json() == changed
    for nothing in ("url", "secret", "event_subscriptions"):
        assert (await client.patch(path, json={nothing: None})).status_code == 422


async def test_a_change_of_what_someone_else_changed_is_refused(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path = f"{PATH}/{made['id']}"
    first = await client.patch(path, json={"label": "first", "updated_at": made["updated_at"]})
    assert first.status_code == 200 and first.json()["updated_at"] > made["updated_at"]
    late = await client.patch(path, json={"label": "second", "updated_at": made["updated_at"]})
    assert (late.status_code, late.json()["code"]) == (409, "CONFLICT")
    assert (await client.get(path)).json()["label"] == "first"
    again = await client.patch(path, json={"label": "second", "updated_at": first.json()["updated_at"]})
    assert again.json()["label"] == "second"


async def test_off_and_on(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path = f"{PATH}/{made['id']}"
    off = (await client.patch(path, json={"disabled_at": "2026-01-01T00:00:00Z"})).json()
    assert off["disabled_at"] > "2026-01-02" and off["disabled_reason_code"] == "manual"
    assert "Set disabled_at to null" in off["disabled_reason"]
    assert (await client.patch(path, json={"disabled_at": "2030-01-01T00:00:00Z"})).json()["disabled_at"] == (
        off["disabled_at"]
    )
    on = (await client.patch(path, json={"disabled_at": None})).json()
    assert (on["disabled_at"], on["disabled_reason_code"], on["disabled_reason"]) == (None, None, None)


async def test_delete(client: httpx.AsyncClient) -> None:
    made = await create(client)
    assert (await client.delete(f"{PATH}/{made['id']}")).status_code == 204
    gone = await client.get(f"{PATH}/{made['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "WEBHOOK_NOT_FOUND")


async def test_nobody_else_s(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    made = await create(client, label="mine")
    for webhook_id in (made["id"], str(new_id())):
        path = f"{PATH}/{webhook_id}"
        for answer in (
            await other_client.get(path),
            await other_client.patch(path, json={"label": "yours"}),
            await other_client.delete(path),
            await other_client.get(f"{path}/deliveries"),
            await other_client.get(f"{path}/deliveries/any/attempts"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "WEBHOOK_NOT_FOUND")
    assert (await other_client.get(PATH)).json()["items"] == []
    assert (await client.get(f"{PATH}/{made['id']}")).json()["label"] == "mine"


async def test_event_types(client: httpx.AsyncClient) -> None:
    found = (await client.get(f"{PATH}/event-types")).json()
    assert [row["code"] for row in found["items"]] == [
        "run.completed", "run.failed", "run.cancelled", "batch.succeeded", "batch.partial_succeeded", "batch.failed",
        "batch.cancelled", "evaluation.completed", "evaluation.failed", "golden_run.passed", "golden_run.failed",
        "golden_run.cancelled", "golden_run.superseded",
    ]  # fmt: skip
    for row in found["items"]:
        assert row["payload"]["event"] == row["code"] and row["name"] and row["description"]
        assert (await client.get(f"{PATH}/event-types/{row['code']}")).json() == row
    missing = await client.get(f"{PATH}/event-types/run.exploded")
    assert (missing.status_code, missing.json()["code"]) == (404, "EVENT_TYPE_NOT_FOUND")
    assert len((await client.get(f"{PATH}/event-types?q=code.like:'run.%'&fields=code")).json()["items"]) == 3


async def test_the_list_takes_every_list_parameter(client: httpx.AsyncClient) -> None:
    made = [await create(client, label=f"w{number}") for number in range(3)]
    first = (await client.get(PATH, params={"limit": 2, "sort_by": "label:asc", "fields": "label"})).json()
    assert first["items"] == [{"label": "w0"}, {"label": "w1"}]
    second = (await client.get(PATH, params={"limit": 2, "sort_by": "label:asc", "pq": first["next"]})).json()
    assert [row["id"] for row in second["items"]] == [made[2]["id"]]
    assert (await client.get(PATH, params={"embed": "nothing"})).json()["code"] == "INVALID_FIELD"
    assert (await client.get(PATH, params={"q": "secret:x"})).json()["code"] == "INVALID_FILTER"


async def test_changes_are_audited_without_the_secret(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client)
    await client.patch(f"{PATH}/{made['id']}", json={"label": "b"})
    await client.delete(f"{PATH}/{made['id']}")
    async with services.db.system() as transaction:
        recorded = "SELECT action_code FROM audit_events WHERE target_id = %(id)s ORDER BY id"
        actions = await transaction.values(recorded, made, of=str)
        said = "SELECT coalesce(details::text, '') FROM audit_events WHERE target_id = %(id)s"
        details = await transaction.values(said, made, of=str)
    assert actions == ["webhook.created", "webhook.changed", "webhook.deleted"]
    assert not any(made["secret"] in text for text in details)
