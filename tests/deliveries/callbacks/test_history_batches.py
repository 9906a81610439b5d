"""A batch tells its end once, to its `callback_url` and to webhooks, and can tell it again."""

import asyncio
from typing import Any

import httpx

from tests.support.deployed import Deployed, Worker
from tests.support.receivers import answering, receiver


async def settled(client: httpx.AsyncClient, path: str, count: int) -> list[dict[str, Any]]:
    """Return the deliveries at `path` once there are `count` and none is pending."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            items: list[dict[str, Any]] = found if isinstance(found, list) else found["items"]
            if len(items) >= count and all(one["status_code"] != "pending" for one in items):
                return items
            await asyncio.sleep(0.02)


async def test_history_and_redelivery_of_a_batch(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    async with receiver(answering()) as hook:
        subscription = {"url": hook.url("/webhook"), "event_subscriptions": ["batch.partial_succeeded"]}
        webhook = (await client.post("/v1/webhooks", json=subscription)).json()
        body = {"input": [{"prompt": "a"}, {"prompt": "b"}], "callback_url": hook.url("/callback")}
        made = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)
        assert made.status_code == 201, made.text
        batch = made.json()["id"]
        early = await client.post(f"/v1/batches/{batch}/callback-redeliveries")
        assert early.status_code == 422 and "not ended" in early.json()["message"]
        first = await worker.lease()
        assert first is not None
        output = await worker.upload(first, b"the picture")
        assert (await worker.complete(first, outputs=[output])).status_code == 200
        second = await worker.lease()
        assert second is not None
        await worker.fail(second, "EXECUTION_FAILED")
        (told,) = await settled(client, f"/v1/batches/{batch}/callback", 1)
        (event,) = await settled(client, f"/v1/webhooks/{webhook['id']}/deliveries", 1)
        again = await client.post(f"/v1/batches/{batch}/callback-redeliveries")
        assert again.status_code == 201, again.text
        repeated = await client.post(f"/v1/webhooks/{webhook['id']}/deliveries/{event['id']}/redeliveries")
        assert repeated.status_code == 201, repeated.text
        await settled(client, f"/v1/batches/{batch}/callback", 2)
        await settled(client, f"/v1/webhooks/{webhook['id']}/deliveries", 2)
        for answer in (
            await other_client.get(f"/v1/batches/{batch}/callback"),
            await other_client.post(f"/v1/batches/{batch}/callback-redeliveries"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "BATCH_NOT_FOUND")
    assert (told["batch_id"], told["run_id"], told["event_type_code"]) == (batch, None, "batch.partial_succeeded")
    assert (event["batch_id"], event["event_type_code"]) == (batch, "batch.partial_succeeded")
    output = told["payload"]["output"]
    assert (output["succeeded"], output["failed"], output["cancelled"], output["total"]) == (1, 1, 0, 2)
    for other in (again.json()["payload"], repeated.json()["payload"]):
        url = other["output"]["items"][0]["output"]["outputs"][0]["url"]
        assert (await client.get(url)).content == b"the picture"
        assert other["workflow"] == workflow.path and other["output"]["total"] == 2
    assert sorted(seen.path for seen in hook.requests) == ["/callback", "/callback", "/webhook", "/webhook"]
