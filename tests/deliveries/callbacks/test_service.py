"""Callback secrets over HTTP: shown once, one current, rotated without a gap."""

import asyncio
import base64
import os
from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.web.services import Services

PATH = "/v1/callback-secrets"


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def patch(client: httpx.AsyncClient, secret: dict[str, Any], **body: Any) -> httpx.Response:
    return await client.patch(f"{PATH}/{secret['id']}", json=body)


async def current(client: httpx.AsyncClient) -> list[str]:
    found = (await client.get(PATH, params={"q": "is_current:true"})).json()["items"]
    return [secret["id"] for secret in found]


async def test_a_secret_is_shown_once_and_stored_sealed(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client, label="production")
    plain = made.pop("plain_secret")
    assert plain.startswith("whsec_") and len(base64.b64decode(plain[6:])) == 32
    assert (made["label"], made["is_current"], made["disabled_at"], made["last_used_at"]) == (
        "production", True, None, None,
    )  # fmt: skip
    assert made["key_prefix"] == plain[:10]
    assert (await client.get(f"{PATH}/{made['id']}")).json() == made
    assert (await client.get(PATH)).json()["items"] == [made]
    async with services.db.system() as transaction:
        stored = await transaction.one_value("SELECT secret FROM callback_secrets WHERE id = %(id)s", made, of=bytes)
    assert plain.encode() not in stored and base64.b64decode(plain[6:]) not in stored


async def test_a_supplied_secret_is_taken(client: httpx.AsyncClient) -> None:
    plain = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    assert (await create(client, secret=plain))["plain_secret"] == plain


@pytest.mark.parametrize(
    "secret", ["", "x", "whsec_", "whsec_AAAA", "whsec_not base64!", "sk_" + "A" * 44, "whsec_" + "A" * 256, 7]
)
async def test_a_secret_of_another_form_is_refused(client: httpx.AsyncClient, secret: Any) -> None:
    answer = await client.post(PATH, json={"secret": secret})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["body", "secret"]
    assert (await client.get(PATH)).json()["items"] == []


async def test_exactly_one_is_current(client: httpx.AsyncClient) -> None:
    first, second = await create(client), await create(client)
    assert (first["is_current"], second["is_current"]) == (True, False)
    promoted = await patch(client, second, is_current=True, label="next")
    assert (promoted.status_code, promoted.json()["is_current"], promoted.json()["label"]) == (200, True, "next")
    assert await current(client) == [second["id"]]
    assert (await patch(client, second, is_current=False)).status_code == 409
    assert (await patch(client, first, is_current=False)).status_code == 200
    assert await current(client) == [second["id"]]


async def test_secrets_that_are_made_at_once_agree_on_the_current_one(client: httpx.AsyncClient) -> None:
    made = await asyncio.gather(*(create(client) for _ in range(4)))
    assert sorted(secret["is_current"] for secret in made) == [False, False, False, True]
    answers = await asyncio.gather(*(patch(client, secret, is_current=True) for secret in made))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await current(client)) == 1


async def test_the_current_one_is_enabled_and_stays(client: httpx.AsyncClient) -> None:
    first, second = await create(client), await create(client)
    assert (await patch(client, first, disabled_at="2026-01-01T00:00:00Z")).status_code == 409
    assert (await client.delete(f"{PATH}/{first['id']}")).status_code == 409
    off = await patch(client, second, disabled_at="2026-01-01T00:00:00Z")
    assert off.status_code == 200 and off.json()["disabled_at"] > "2026-01-02"
    assert (await patch(client, second, is_current=True)).status_code == 409
    back = await patch(client, second, is_current=True, disabled_at=None)
    assert (back.status_code, back.json()["is_current"], back.json()["disabled_at"]) == (200, True, None)
    assert (await client.delete(f"{PATH}/{first['id']}")).status_code == 204
    assert (await client.delete(f"{PATH}/{second['id']}")).status_code == 204
    assert (await client.get(PATH)).json()["items"] == []
    assert (await create(client))["is_current"] is True


async def test_absent_fields_stay(client: httpx.AsyncClient) -> None:
    made = await create(client, label="a")
    assert (await patch(client, made)).json()["label"] == "a"
    assert (await patch(client, made, is_current=None)).json()["is_current"] is True
    assert (await patch(client, made, label=None)).json()["label"] is None


async def test_their_number_is_bounded(client: httpx.AsyncClient) -> None:
    for _ in range(10):
        await create(client)
    assert (await client.post(PATH)).status_code == 409


async def test_nobody_else_s(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    made = await create(client)
    for path in (f"{PATH}/{made['id']}", f"{PATH}/{new_id()}"):
        assert (await other_client.get(path)).json()["code"] == "CALLBACK_SECRET_NOT_FOUND"
        assert (await other_client.patch(path, json={"label": "mine"})).status_code == 404
        assert (await other_client.delete(path)).status_code == 404
    assert (await other_client.get(PATH)).json()["items"] == []
    assert (await create(other_client))["is_current"] is True
    assert (await client.get(f"{PATH}/{made['id']}")).json()["label"] is None


async def test_changes_are_audited_without_the_secret(client: httpx.AsyncClient, services: Services) -> None:
    made = await create(client)
    await patch(client, made, label="b")
    await client.delete(f"{PATH}/{made['id']}")
    async with services.db.system() as transaction:
        events = "SELECT action_code FROM audit_events WHERE target_id = %(id)s ORDER BY id"
        actions = await transaction.values(events, made, of=str)
        said = "SELECT coalesce(details::text, '') FROM audit_events WHERE target_id = %(id)s"
        details = await transaction.values(said, made, of=str)
    assert actions == [
        "callback_secret.created", "callback_secret.changed", "callback_secret.deleted",
    ]  # fmt: skip
    assert not any(made["plain_secret"] in text for text in details)
