"""Reading batches and their items over HTTP."""

import asyncio

import httpx
import pytest

from runflow.batches.schemas import Batch, BatchItem, ListedBatch
from runflow.ids import new_id
from runflow.web.lists import pages
from tests.batches.conftest import MakeBatch, finish
from tests.support.deployed import Worker


async def test_batches_are_listed_filtered_and_paged(
    client: httpx.AsyncClient, make_batch: MakeBatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = [await make_batch(count) for count in (1, 2, 1)]
    await finish(worker, "succeeded", "failed")
    listed = (await client.get("/v1/batches")).json()["items"]
    assert [batch["id"] for batch in listed] == [third["id"], second["id"], first["id"]]
    assert [batch["status_code"] for batch in listed] == ["queued", "running", "succeeded"]
    for batch in listed:
        assert "items" not in batch and "output" not in batch
        ListedBatch.model_validate(batch)
    for q, found in (
        ("status_code:running", [second["id"]]),
        ("status_code.in:(queued, succeeded) AND items_total:1", [third["id"], first["id"]]),
        (f"target_id:{first['target_id']} AND items_succeeded > 0", [first["id"]]),
        ("completed_at.isnull:false", [first["id"]]),
    ):
        answer = await client.get("/v1/batches", params={"q": q, "fields": "id"})
        assert answer.json()["items"] == [{"id": one} for one in found], q
    page = (await client.get("/v1/batches", params={"limit": 2, "sort_by": "completed_at:desc"})).json()
    rest = (
        await client.get("/v1/batches", params={"limit": 2, "sort_by": "completed_at:desc", "pq": page["next"]})
    ).json()
    assert len({batch["id"] for batch in page["items"] + rest["items"]}) == 3
    whole = (await client.get("/v1/batches", params={"fields": "id,items,input"})).json()["items"]
    assert [len(batch["items"]) for batch in whole] == [len(batch["input"]) for batch in whole] == [1, 2, 1]
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 1)
    large = (await client.get("/v1/batches", params={"fields": "id,input"})).json()
    assert [batch["id"] for batch in large["items"]] == [third["id"]] and large["next"]


async def test_items_show_their_runs_as_they_are_now(
    client: httpx.AsyncClient, make_batch: MakeBatch, worker: Worker
) -> None:
    batch = await make_batch(3)
    await finish(worker, "succeeded", "failed")
    path = f"/v1/batches/{batch['id']}/items"
    items = (await client.get(path)).json()["items"]
    assert [item["sequence_index"] for item in items] == [0, 1, 2]
    assert [item["status_code"] for item in items] == ["succeeded", "failed", "queued"]
    assert [bool(item["output"]) for item in items] == [True, False, False]
    assert items[1]["error"]["code"] == "EXECUTION_FAILED" and items[0]["cost"] == "0.000000"
    for item in items:
        BatchItem.model_validate(item)
        assert item["id"] == item["run_id"] and item["batch_id"] == batch["id"]
    failed = (await client.get(path, params={"q": "status_code:failed", "embed": "run"})).json()["items"]
    assert [item["run"]["id"] for item in failed] == [items[1]["id"]]
    one = (await client.get(f"{path}/{items[2]['id']}")).json()
    assert one == items[2]
    assert (await client.get(f"{path}/{items[2]['id']}?fields=status_code")).json() == {"status_code": "queued"}


async def test_a_batch_validates_against_its_schema(
    client: httpx.AsyncClient, make_batch: MakeBatch, worker: Worker
) -> None:
    batch = await make_batch(2)
    Batch.model_validate(batch)
    await finish(worker, "succeeded", "failed")
    read = (await client.get(f"/v1/batches/{batch['id']}")).json()
    Batch.model_validate(read)
    assert set(read) == set(batch) == set(Batch.model_fields)
    lean = (await client.get(f"/v1/batches/{batch['id']}?fields=id,output")).json()
    assert set(lean) == {"id", "output"}


async def test_what_is_not_there_is_named(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, make_batch: MakeBatch
) -> None:
    batch = await make_batch(1)
    item = batch["items"][0]["id"]
    for caller, batch_id in ((other_client, batch["id"]), (client, new_id())):
        for method, path in (
            ("GET", f"/v1/batches/{batch_id}"),
            ("GET", f"/v1/batches/{batch_id}/items"),
            ("POST", f"/v1/batches/{batch_id}/cancellation"),
        ):
            answer = await caller.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (404, "BATCH_NOT_FOUND"), path
        answer = await caller.get(f"/v1/batches/{batch_id}/items/{item}")
        assert (answer.status_code, answer.json()["code"]) == (404, "BATCH_ITEM_NOT_FOUND")
    assert (await other_client.get("/v1/batches")).json()["items"] == []
    bad = await client.get(f"/v1/batches/{batch['id']}?embed=nothing")
    assert (bad.status_code, bad.json()["code"]) == (400, "INVALID_FIELD")


async def test_a_batch_is_waited_for(client: httpx.AsyncClient, make_batch: MakeBatch, worker: Worker) -> None:
    batch = await make_batch(2)
    path = f"/v1/batches/{batch['id']}"
    assert (await client.get(path, params={"wait": 0.01})).json()["status_code"] == "queued"
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        waiting = group.create_task(client.get(path, params={"wait": 30, "fields": "status_code,output"}))
        await finish(worker, "succeeded", "failed")
    answer = waiting.result()
    assert answer.json()["status_code"] == "partial_succeeded" and answer.json()["output"]["total"] == 2
    assert (await client.get(path, params={"wait": 30})).json()["is_terminal"]
    assert (await client.get(f"/v1/batches/{new_id()}", params={"wait": 5})).status_code == 404
    assert (await client.get(path, params={"wait": 31})).status_code == 200
    assert (await client.get(path, params={"wait": -1})).status_code == 422
    assert (await client.get(path, params={"wait": 5, "embed": "x"})).status_code == 400
