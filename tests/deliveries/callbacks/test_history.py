"""Delivery history and redelivery of runs, over HTTP and with a real receiver."""

import asyncio
import hashlib
import hmac
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from runflow.deliveries.callbacks import history_queries
from runflow.ids import new_id
from runflow.storage import signed_urls
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.receivers import Receiver, answering, hanging, receiver


async def ended(dispatch: Dispatch, worker: Worker, hook: Receiver | None, **more: Any) -> dict[str, Any]:
    run = await dispatch(**more, **({"callback_url": hook.url()} if hook else {}))
    lease = await worker.lease()
    assert lease is not None
    output = await worker.upload(lease, b"the picture")
    assert (await worker.complete(lease, outputs=[output])).status_code == 200
    return run


async def history(client: httpx.AsyncClient, run: dict[str, Any], *, count: int = 1) -> list[dict[str, Any]]:
    """Return the deliveries once there are `count` and none is pending."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get(f"/v1/runs/{run['id']}/callback")
            assert answer.status_code == 200, answer.text
            found: list[dict[str, Any]] = answer.json()
            if len(found) >= count and all(one["status_code"] != "pending" for one in found):
                return found
            await asyncio.sleep(0.02)


async def redeliver(client: httpx.AsyncClient, run: dict[str, Any]) -> httpx.Response:
    return await client.post(f"/v1/runs/{run['id']}/callback-redeliveries")


async def test_the_history_shows_what_was_sent(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    secret = (await client.post("/v1/callback-secrets")).json()
    async with receiver(answering(202, b"thanks")) as hook:
        run = await ended(dispatch, worker, hook, client_ref="ticket-1", metadata={"order": 7})
        (delivery,) = await history(client, run)
    (seen,) = hook.requests
    assert delivery["payload_bytes"].encode() == seen.body
    assert delivery["payload"]["client_ref"] == "ticket-1" and delivery["payload"]["metadata"] == {"order": 7}
    assert (delivery["run_id"], delivery["batch_id"], delivery["callback_url"]) == (run["id"], None, hook.url())
    assert (delivery["status_code"], delivery["attempt_count"], delivery["is_automatic"]) == ("succeeded", 1, True)
    assert delivery["signing_secret_id"] == secret["id"]
    (attempt,) = delivery["attempts"]
    assert (attempt["status_code"], attempt["response_body"], attempt["succeeded"]) == (202, "thanks", True)
    assert attempt["delivery_id"] == delivery["id"] == seen.headers["webhook-id"]
    plain = secret["plain_secret"]
    assert seen.headers["runflow-signature"] == hmac.new(plain.encode(), seen.body, hashlib.sha256).hexdigest()
    Webhook(plain).verify(seen.body, dict(seen.headers))


async def test_without_secrets_callbacks_are_unsigned(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    async with receiver(answering()) as hook:
        (delivery,) = await history(client, await ended(dispatch, worker, hook))
    assert "runflow-signature" not in hook.requests[0].headers
    assert delivery["signing_secret_id"] is None


async def test_rotation_without_a_gap(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    old = (await client.post("/v1/callback-secrets")).json()
    new = (await client.post("/v1/callback-secrets")).json()
    async with receiver(answering()) as hook:
        run = await ended(dispatch, worker, hook)
        await history(client, run)
        await client.patch(f"/v1/callback-secrets/{new['id']}", json={"is_current": True})
        assert (await redeliver(client, run)).status_code == 201
        await history(client, run, count=2)
        assert (await client.delete(f"/v1/callback-secrets/{old['id']}")).status_code == 204
        await redeliver(client, run)
        await history(client, run, count=3)
    before, during, after = hook.requests
    for seen in (before, during):
        for secret in (old, new):
            Webhook(secret["plain_secret"]).verify(seen.body, dict(seen.headers))
    current = [old, new, new]
    for seen, secret in zip((before, during, after), current, strict=True):
        signature = hmac.new(secret["plain_secret"].encode(), seen.body, hashlib.sha256).hexdigest()
        assert seen.headers["runflow-signature"] == signature
    assert len(after.headers["webhook-signature"].split()) == 1


async def test_a_redelivery_tells_the_present_state_with_fresh_urls(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver(answering()) as hook:
        run = await ended(dispatch, worker, hook, metadata={"a": 1})
        await history(client, run)
        # URLs are signed by the second.
        monkeypatch.setattr(signed_urls, "time", SimpleNamespace(time=lambda: time.time() + 5))
        made = await redeliver(client, run)
        assert made.status_code == 201
        deliveries = await history(client, run, count=2)
    again, first = deliveries
    assert (made.json()["status_code"], made.json()["is_automatic"], made.json()["attempts"]) == ("pending", False, [])
    assert again["id"] == made.json()["id"] != first["id"]
    urls = [one["payload"]["output"]["outputs"][0].pop("url") for one in deliveries]
    assert urls[0] != urls[1] and (await client.get(urls[0])).content == b"the picture"
    assert again["payload"] == first["payload"]
    # However often it is redelivered, an answer stays small.
    monkeypatch.setattr(history_queries, "MOST_BYTES", len(again["payload_bytes"]))
    assert [one["id"] for one in await history(client, run)] == [again["id"]]


async def test_what_failed_is_told_again(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    async with receiver(answering()) as hook:
        run = await dispatch(callback_url=hook.url())
        lease = await worker.lease()
        assert lease is not None
        await worker.fail(lease, "EXECUTION_FAILED")
        await history(client, run)
        await redeliver(client, run)
        again, first = await history(client, run, count=2)
    assert again["payload"] == first["payload"]
    assert again["payload"]["output"]["code"] == "EXECUTION_FAILED"
    assert again["event_type_code"] == "run.failed"


async def test_one_delivery_at_a_time(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    async with receiver(hanging) as hook:
        run = await ended(dispatch, worker, hook)
        refused = await redeliver(client, run)
        assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT")
        (pending,) = (await client.get(f"/v1/runs/{run['id']}/callback")).json()
        assert pending["status_code"] == "pending"


async def test_redelivery_needs_an_end_and_a_target(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    without = await ended(dispatch, worker, None)
    waiting = await dispatch(callback_url="http://127.0.0.1:9/")
    for run, word in ((without, "callback_url"), (waiting, "not ended")):
        refused = await redeliver(client, run)
        assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR")
        assert word in refused.json()["message"]
        assert (await client.get(f"/v1/runs/{run['id']}/callback")).json() == []


async def test_nobody_else_s(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, services: Services
) -> None:
    async with receiver(answering()) as hook:
        run = await ended(dispatch, worker, hook)
        await history(client, run)
        for run_id in (run["id"], str(new_id())):
            for answer in (
                await other_client.get(f"/v1/runs/{run_id}/callback"),
                await other_client.post(f"/v1/runs/{run_id}/callback-redeliveries"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "RUN_NOT_FOUND")
        assert len(await history(client, run)) == len(hook.requests) == 1


async def test_a_batch_of_nobody(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get(f"/v1/batches/{new_id()}/callback"),
        await client.post(f"/v1/batches/{new_id()}/callback-redeliveries"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "BATCH_NOT_FOUND")
