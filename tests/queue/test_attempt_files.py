"""What a finished run has stays as it is: upload URLs replace nothing, and end with their lease."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from runflow.ids import new_id
from runflow.protocol.codec import PARCEL, pack
from runflow.queue.sweeper import Sweeper
from runflow.queue.watchers import Watchers
from runflow.storage.disk import BLOCK_BYTES
from runflow.web.responses import dumps
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker

FILE = {"ordinal": 0, "filename": "a.png", "content_type": "image/png"}


async def slot_of(worker: Worker, lease: dict[str, Any]) -> dict[str, Any]:
    """Return an upload URL of a lease, for a file of any size."""
    answer = await ask(worker, lease)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["uploads"][0])


async def ask(worker: Worker, lease: dict[str, Any]) -> httpx.Response:
    return await worker.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**worker.me, "files": [FILE]})


async def put(worker: Worker, slot: dict[str, Any], content: Any) -> httpx.Response:
    return await worker.http.put(slot["url"], content=content, headers=slot["headers"])


async def taken(dispatch: Dispatch, worker: Worker) -> dict[str, Any]:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    return lease


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def finished(worker: Worker, lease: dict[str, Any], content: bytes = b"png") -> None:
    output = await worker.upload(lease, content)
    assert (await worker.complete(lease, outputs=[output])).status_code == 200


async def test_after_the_end_no_url_changes_what_the_run_has(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    lease = await taken(dispatch, worker)
    slot = await slot_of(worker, lease)
    await finished(worker, lease)
    refused(await put(worker, slot, b"PNG"), 403, "URL_EXPIRED")
    refused(await put(worker, slot, b"png"), 403, "URL_EXPIRED")
    refused(await ask(worker, lease), 409, "LEASE_LOST")
    shown = (await client.get(f"/v1/runs/{lease['run_id']}")).json()["output"]["outputs"][0]
    assert (await client.get(shown["url"])).content == b"png"


@pytest.fixture
def copied(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage as a bucket that cannot keep its upload URLs from replacing: what a run has is a copy."""
    storage = services.storage

    async def sealed(key: str) -> str:
        target = f"{key.rpartition('/')[0]}/{new_id().hex}/a.png"
        await storage.copy(key, target)
        return target

    monkeypatch.setattr(storage, "sealed", sealed)


@pytest.mark.usefixtures("copied")
async def test_what_breaks_once_a_run_may_be_committed_takes_no_output_from_it(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where PostgreSQL dies in the commit, or the server is stopped right behind it."""
    lease = await taken(dispatch, worker)
    output = await worker.upload(lease, b"png")

    async def tell(_watchers: Watchers, _looks: list[Any]) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as broken:
        broken.setattr(Watchers, "tell", tell)
        assert (await worker.complete(lease, outputs=[output])).status_code >= 500
    assert (await worker.complete(lease, outputs=[output])).json()["status_code"] == "succeeded"
    shown = (await client.get(f"/v1/runs/{lease['run_id']}")).json()["output"]["outputs"][0]
    assert (await client.get(shown["url"])).content == b"png"


@pytest.mark.usefixtures("copied")
async def test_a_completion_that_is_refused_leaves_no_copy(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    lease = await taken(dispatch, worker)
    output = await worker.upload(lease, b"png")
    absent = {**output, "ordinal": 1, "object_key": output["object_key"].replace("0-", "1-")}
    refused(await worker.complete(lease, outputs=[output, absent]), 422, "VALIDATION_ERROR")
    stored = [key async for key in services.storage.list(f"runs/{lease['run_id']}")]
    assert stored == [output["object_key"]]


async def test_during_the_lease_a_url_takes_the_same_bytes_again_and_no_others(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    lease = await taken(dispatch, worker)
    slot = await slot_of(worker, lease)
    for _ in range(2):
        answer = await put(worker, slot, b"png")
        assert answer.json() == {"size_bytes": 3, "sha256": hashlib.sha256(b"png").hexdigest()}
    refused(await put(worker, slot, b"PNG"), 409, "CONFLICT")
    large = bytes(2 * BLOCK_BYTES)
    refused(await put(worker, slot, large), 409, "CONFLICT")
    stored = await services.storage.head(slot["object_key"])
    assert stored is not None and stored.size_bytes == 3


async def test_what_is_on_its_way_when_the_lease_ends_is_not_stored(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    """An upload that began in time ends nowhere: it is looked at again when its last byte is here."""
    lease = await taken(dispatch, worker)
    slot = await slot_of(worker, lease)
    begun, over = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK_BYTES)
        begun.set()
        await over.wait()
        yield b"!"

    sending = asyncio.create_task(put(worker, slot, slowly()))
    await begun.wait()
    assert (await worker.complete(lease)).status_code == 200
    over.set()
    refused(await sending, 403, "URL_EXPIRED")
    assert await services.storage.head(slot["object_key"]) is None


@pytest.mark.parametrize("change", ["once", "limit", "type"])
async def test_a_url_without_a_part_of_what_it_says_is_refused(dispatch: Dispatch, worker: Worker, change: str) -> None:
    slot = await slot_of(worker, await taken(dispatch, worker))
    url = httpx.URL(slot["url"])
    changed = {**slot, "url": str(url.copy_remove_param(change))}
    refused(await put(worker, changed, b"png"), 403, "URL_EXPIRED")
    refused(await put(worker, {**slot, "url": str(url.copy_set_param(change, "2"))}, b"png"), 403, "URL_EXPIRED")


async def test_a_lease_that_was_lost_takes_nothing_more(services: Services, dispatch: Dispatch, worker: Worker) -> None:
    lease = await taken(dispatch, worker)
    assert (await worker.heartbeat(lease)).status_code == 200
    slot, before = await slot_of(worker, lease), worker.me
    worker.instance = new_id()
    await worker.register()
    refused(await put(worker, slot, b"png"), 403, "URL_EXPIRED")
    body = {**before, "files": [FILE]}
    refused(await worker.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json=body), 409, "LEASE_LOST")
    output = {**FILE, "size_bytes": 3, "sha256": hashlib.sha256(b"png").hexdigest(), "output_id": "p", "node_id": "9"}
    brought = await worker.http.post(
        f"/v1/worker/leases/{lease['id']}/completions",
        content=pack(dumps({**before, "result": "succeeded", "outputs": [output]}), [b"png"]),
        headers={"Content-Type": PARCEL},
    )
    refused(brought, 409, "LEASE_LOST")
    assert [key async for key in services.storage.list(f"runs/{lease['run_id']}")] == []


async def test_a_lapsed_offer_takes_nothing_more(services: Services, dispatch: Dispatch, worker: Worker) -> None:
    lease = await taken(dispatch, worker)
    slot = await slot_of(worker, lease)
    await Sweeper(services).end_older_lives(UUID(worker.worker_id), new_id())
    refused(await put(worker, slot, b"png"), 403, "URL_EXPIRED")
    refused(await ask(worker, lease), 404, "LEASE_NOT_FOUND")


async def test_a_cancelled_run_takes_nothing_more_and_its_attempt_is_ended_by_its_worker(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    lease = await taken(dispatch, worker)
    slot = await slot_of(worker, lease)
    assert (await client.post(f"/v1/runs/{lease['run_id']}/cancellation", json={})).status_code == 201
    refused(await put(worker, slot, b"png"), 403, "URL_EXPIRED")
    refused(await ask(worker, lease), 403, "URL_EXPIRED")
    assert (await worker.complete(lease, "cancelled")).json()["status_code"] == "cancelled"
