"""What webhooks receive, its history, and redelivery; with real receivers and the server's own engine."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
from typing import Any

import httpx
from standardwebhooks import Webhook

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.receivers import Receiver, answering, hanging, receiver

PATH = "/v1/webhooks"


async def subscribe(client: httpx.AsyncClient, hook: Receiver, *events: str, **more: Any) -> dict[str, Any]:
    body = {"url": hook.url(), **({"event_subscriptions": list(events)} if events else {}), **more}
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def succeeded(dispatch: Dispatch, worker: Worker, **more: Any) -> dict[str, Any]:
    run = await dispatch(**more)
    lease = await worker.lease()
    assert lease is not None
    output = await worker.upload(lease, b"the picture")
    assert (await worker.complete(lease, outputs=[output])).status_code == 200
    return run


async def failed(dispatch: Dispatch, worker: Worker) -> dict[str, Any]:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    return run


async def cancelled(client: httpx.AsyncClient, dispatch: Dispatch, **more: Any) -> dict[str, Any]:
    run = await dispatch(**more)
    assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    return run


async def deliveries(
    client: httpx.AsyncClient, webhook_id: str, *, count: int = 1, **params: str
) -> list[dict[str, Any]]:
    """Return the deliveries, newest first, once there are `count` and none is pending."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get(f"{PATH}/{webhook_id}/deliveries", params=params)
            assert answer.status_code == 200, answer.text
            found: list[dict[str, Any]] = answer.json()["items"]
            if len(found) >= count and all(one["status_code"] != "pending" for one in found):
                return found
            await asyncio.sleep(0.02)


async def test_a_test_is_signed_and_recorded_as_real_ones_are(client: httpx.AsyncClient) -> None:
    async with receiver(answering()) as hook:
        webhook = await subscribe(client, hook, "run.failed", "batch.failed")
        path = f"{PATH}/{webhook['id']}/test-deliveries"
        for sent, event in (({}, "run.failed"), ({"event_type_code": "evaluation.completed"}, "evaluation.completed")):
            made = await client.post(path, json=sent)
            assert (made.status_code, made.json()["event_type_code"]) == (201, event), made.text
            (listed,) = await deliveries(client, webhook["id"], q=f"event_type_code:{event}")
            assert (listed["id"], listed["status_code"], listed["run_id"]) == (made.json()["id"], "succeeded", None)
        assert [json.loads(arrived.body)["event"] for arrived in hook.requests] == [
            "run.failed",
            "evaluation.completed",
        ]
        first = hook.requests[0]
        verified = Webhook(webhook["secret"]).verify(first.body, first.headers)
        assert verified["is_test"] is True
        again = await client.post(f"{PATH}/{webhook['id']}/deliveries/{made.json()['id']}/redeliveries")
        assert (again.status_code, again.json()["payload"]["is_test"]) == (201, True)


async def test_a_test_that_nobody_takes_says_so_at_once(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    async with receiver(answering(500)) as hook:
        webhook = await subscribe(client, hook)
        path = f"{PATH}/{webhook['id']}/test-deliveries"
        assert (await client.post(path)).status_code == 201
        (delivery,) = await deliveries(client, webhook["id"])
        assert (delivery["status_code"], delivery["attempt_count"], delivery["max_attempts"]) == ("failed", 1, 1)
        assert "HTTP status 500" in delivery["failure_detail"]
    assert (await client.post(path, json={"event_type_code": "run.exploded"})).status_code == 422
    assert (await other_client.post(path)).json()["code"] == "WEBHOOK_NOT_FOUND"
    await client.patch(f"{PATH}/{webhook['id']}", json={"disabled_at": "2026-01-01T00:00:00Z"})
    assert (await client.post(path)).status_code == 409


async def test_each_event_goes_to_those_who_subscribed(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    async with receiver(answering()) as all_of_them, receiver(answering()) as failures, receiver(answering()) as none:
        everything = await subscribe(client, all_of_them)
        only_failures = await subscribe(client, failures, "run.failed")
        await subscribe(client, none, event_subscriptions=[])
        off = await subscribe(client, none)
        await client.patch(f"{PATH}/{off['id']}", json={"disabled_at": "2026-01-01T00:00:00Z"})
        await subscribe(other_client, none)
        runs = [
            await succeeded(dispatch, worker, client_ref="ticket-1"),
            await failed(dispatch, worker),
            await cancelled(client, dispatch),
        ]
        sent = await deliveries(client, everything["id"], count=3)
        await deliveries(client, only_failures["id"])
    assert sorted(one["event_type_code"] for one in sent) == ["run.cancelled", "run.completed", "run.failed"]
    assert {one["run_id"] for one in sent} == {run["id"] for run in runs}
    assert none.requests == []
    assert b'"event":"run.failed"' in failures.requests[0].body and len(failures.requests) == 1
    assert failures.requests[0].body in [seen.body for seen in all_of_them.requests], "all get the same bytes"


async def test_callback_and_webhook_of_one_run(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    async with receiver(answering()) as hook:
        webhook = await subscribe(client, hook)
        secret = (await client.post("/v1/callback-secrets")).json()["plain_secret"]
        run = await succeeded(dispatch, worker, callback_url=hook.url("/callback"))
        await deliveries(client, webhook["id"])
        async with asyncio.timeout(60):
            while len(hook.requests) < 2:
                await asyncio.sleep(0.02)
        history = (await client.get(f"/v1/runs/{run['id']}/callback")).json()
    by_path = {seen.path: seen for seen in hook.requests}
    assert by_path["/hook"].body == by_path["/callback"].body
    Webhook(secret).verify(by_path["/callback"].body, dict(by_path["/callback"].headers))
    Webhook(webhook["secret"]).verify(by_path["/hook"].body, dict(by_path["/hook"].headers))
    own = hmac.new(webhook["secret"].encode(), by_path["/hook"].body, hashlib.sha256).hexdigest()
    assert by_path["/hook"].headers["runflow-signature"] == own
    assert len(history) == 1, "a run's callbacks are not its webhooks' deliveries"


async def test_the_history_of_a_delivery(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    async with receiver(answering(410, b"moved away")) as hook:
        webhook = await subscribe(client, hook)
        run = await succeeded(dispatch, worker)
        (listed,) = await deliveries(client, webhook["id"], embed="webhook,attempts")
    one = (await client.get(f"{PATH}/{webhook['id']}/deliveries/{listed['id']}")).json()
    assert (one["status_code"], one["failure_reason_code"], one["run_id"]) == ("failed", "http_status", run["id"])
    assert one["payload"]["run_id"] == run["id"] and one["payload_bytes"].encode() == hook.requests[0].body
    assert "payload" not in listed and listed["webhook"]["id"] == webhook["id"]
    (attempt,) = one["attempts"]
    assert (attempt["status_code"], attempt["response_body"], attempt["succeeded"]) == (410, "moved away", False)
    assert attempt["next_retry_at"] is None and listed["attempts"] == [attempt]
    for place in (f"{webhook['id']}/deliveries/{listed['id']}", f"any/deliveries/{listed['id']}", "any/deliveries/any"):
        (found,) = (await client.get(f"{PATH}/{place}/attempts")).json()["items"]
        assert found == {**attempt, "webhook_id": webhook["id"]}
        assert (await client.get(f"{PATH}/{place}/attempts/{attempt['id']}")).json() == found
        missing = await client.get(f"{PATH}/{place}/attempts/{new_id()}")
        assert (missing.status_code, missing.json()["code"]) == (404, "DELIVERY_ATTEMPT_NOT_FOUND")
    assert [row["id"] for row in (await client.get(f"{PATH}/any/deliveries")).json()["items"]] == [listed["id"]]


async def test_410_switches_the_webhook_off_until_it_is_switched_on(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    async with receiver(answering(410)) as hook:
        webhook = await subscribe(client, hook)
        await cancelled(client, dispatch)
        await deliveries(client, webhook["id"])
        off = (await client.get(f"{PATH}/{webhook['id']}")).json()
        assert off["disabled_reason_code"] == "gone" and "410" in off["disabled_reason"]
        assert off["disabled_at"] is not None and off["failing_since"] is not None
        await cancelled(client, dispatch)
        assert len(await deliveries(client, webhook["id"])) == 1
        on = (await client.patch(f"{PATH}/{webhook['id']}", json={"disabled_at": None})).json()
        assert (on["disabled_reason"], on["failing_since"]) == (None, None)
        await cancelled(client, dispatch)
        assert len(await deliveries(client, webhook["id"], count=2)) == 2


async def test_what_waits_for_a_webhook_that_is_switched_off_fails_with_the_reason(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    async with receiver(answering(500)) as hook:
        webhook = await subscribe(client, hook)
        deleted = await subscribe(client, hook)
        await cancelled(client, dispatch)
        async with asyncio.timeout(60):
            while len(hook.requests) < 2:
                await asyncio.sleep(0.02)
        pending = (await client.get(f"{PATH}/any/deliveries", params={"q": "attempt_count:1"})).json()["items"]
        async with asyncio.timeout(60):
            while len(pending) < 2:
                await asyncio.sleep(0.02)
                pending = (await client.get(f"{PATH}/any/deliveries", params={"q": "attempt_count:1"})).json()["items"]
        await client.patch(f"{PATH}/{webhook['id']}", json={"disabled_at": "2026-01-01T00:00:00Z"})
        await client.delete(f"{PATH}/{deleted['id']}")
        ended = await deliveries(client, "any", count=2)
    for one in ended:
        assert (one["status_code"], one["failure_reason_code"]) == ("failed", "http_status")
        word = "disabled" if one["webhook_id"] == webhook["id"] else "deleted"
        assert f"The webhook was {word} before" in one["failure_detail"] and "HTTP status 500" in one["failure_detail"]


async def test_what_waits_goes_to_the_new_url(
    client: httpx.AsyncClient, dispatch: Dispatch, services: Services
) -> None:
    async with receiver(answering(500)) as broken, receiver(answering()) as mended:
        webhook = await subscribe(client, broken)
        await cancelled(client, dispatch)
        async with asyncio.timeout(60):
            while not (await client.get(f"{PATH}/any/deliveries?q=attempt_count:1")).json()["items"]:
                await asyncio.sleep(0.02)
        await client.patch(f"{PATH}/{webhook['id']}", json={"url": mended.url()})
        async with services.db.system() as transaction:  # do not wait for the ten seconds of the schedule
            sooner = "UPDATE deliveries SET next_attempt_at = now() WHERE webhook_id = %(id)s"
            await transaction.run(sooner, webhook)
        services.hub.publish("delivery")
        (delivery,) = await deliveries(client, webhook["id"])
    assert (delivery["status_code"], delivery["url"]) == ("succeeded", mended.url())
    assert delivery["attempt_count"] == len(broken.requests) + 1
    assert broken.requests[0].headers["webhook-id"] == mended.requests[0].headers["webhook-id"]
    healthy = (await client.get(f"{PATH}/{webhook['id']}")).json()
    assert healthy["failing_since"] is None and healthy["last_triggered_at"] is not None


async def test_a_new_secret_and_the_one_before_verify_during_the_cut_over(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    fresh = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    async with receiver(answering()) as hook:
        webhook = await subscribe(client, hook)
        await client.patch(f"{PATH}/{webhook['id']}", json={"secret": fresh})
        await cancelled(client, dispatch)
        await deliveries(client, webhook["id"])
    (seen,) = hook.requests
    for secret in (fresh, webhook["secret"]):
        Webhook(secret).verify(seen.body, dict(seen.headers))
    assert seen.headers["runflow-signature"] == hmac.new(fresh.encode(), seen.body, hashlib.sha256).hexdigest()


async def test_redelivery(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    async with receiver(answering()) as hook:
        webhook = await subscribe(client, hook)
        await succeeded(dispatch, worker)
        (first,) = await deliveries(client, webhook["id"])
        path = f"{PATH}/{webhook['id']}/deliveries/{first['id']}/redeliveries"
        made = await client.post(path)
        assert made.status_code == 201, made.text
        again, _ = await deliveries(client, webhook["id"], count=2)
        assert again["id"] == made.json()["id"] and again["is_automatic"] is False
        url = made.json()["payload"]["output"]["outputs"][0]["url"]
        assert (await client.get(url)).content == b"the picture"
        for stranger in (path, f"{PATH}/any/deliveries/{first['id']}/redeliveries"):
            refused = await other_client.post(stranger)
            assert (refused.status_code, refused.json()["code"]) == (404, "DELIVERY_NOT_FOUND")
        await client.patch(f"{PATH}/{webhook['id']}", json={"disabled_at": "2026-01-01T00:00:00Z"})
        assert (await client.post(path)).status_code == 409
        await client.delete(f"{PATH}/{webhook['id']}")
        gone = await client.post(f"{PATH}/any/deliveries/{first['id']}/redeliveries")
        assert (gone.status_code, gone.json()["code"]) == (404, "WEBHOOK_NOT_FOUND")
    assert len(hook.requests) == 2
    assert len({seen.headers["webhook-id"] for seen in hook.requests}) == 2


async def test_one_delivery_of_an_event_at_a_time(client: httpx.AsyncClient, dispatch: Dispatch) -> None:
    async with receiver(hanging) as hook:
        webhook = await subscribe(client, hook)
        await cancelled(client, dispatch)
        (pending,) = (await client.get(f"{PATH}/{webhook['id']}/deliveries")).json()["items"]
        refused = await client.post(f"{PATH}/{webhook['id']}/deliveries/{pending['id']}/redeliveries")
        assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT")
        await client.patch(f"{PATH}/{webhook['id']}", json={"url": "http://127.0.0.1:9/"})


async def test_a_redelivery_that_is_asked_for_twice_with_one_key_is_made_once(
    client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    key = {"Idempotency-Key": "again-1"}
    async with receiver(answering()) as hook:
        webhook = await subscribe(client, hook)
        run = await cancelled(client, dispatch, callback_url=hook.url("/callback"))
        (first,) = await deliveries(client, webhook["id"])
        for path in (
            f"{PATH}/{webhook['id']}/deliveries/{first['id']}/redeliveries",
            f"/v1/runs/{run['id']}/callback-redeliveries",
        ):
            answers = [await client.post(path, headers=key) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
            assert answers[0].json() == answers[1].json()
            assert answers[1].headers["idempotency-replayed"] == "true"
        assert len(await deliveries(client, webhook["id"], count=2)) == 2


async def test_an_answer_with_a_secret_is_not_kept(client: httpx.AsyncClient) -> None:
    for path, body in ((PATH, {"url": "https://h.example/"}), ("/v1/callback-secrets", {})):
        headers = {"Idempotency-Key": "once"}
        assert (await client.post(path, json=body, headers=headers)).status_code == 201
        again = await client.post(path, json=body, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
        assert len((await client.get(path)).json()["items"]) == 1
