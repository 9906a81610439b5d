"""What a listener is told of this moment only: the place in the lane, and pictures of the running node."""

import asyncio
import base64
from typing import Any

import httpx
import orjson

from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker

PICTURE = {"node_id": "4", "node_type": "Anything", "content_type": "image/png"}
BEGUN = {"number": 1, "type": "status", "at": "2026-01-01T00:00:00+00:00", "data": {"status_code": "running"}}


class Listener:
    """Follows a run, and keeps what has no number."""

    def __init__(self, http: httpx.AsyncClient, run: dict[str, Any], **query: str) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.heard = asyncio.Event()
        self.task = asyncio.create_task(self._listen(http, f"/v1/runs/{run['id']}/events", query))

    async def _listen(self, http: httpx.AsyncClient, path: str, query: dict[str, str]) -> None:
        async with http.stream("GET", path, params=query) as answer:
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                if "event" in fields and "id" not in fields:
                    self.told.append((fields["event"], orjson.loads(fields["data"])))
                    self.heard.set()
                fields = {}

    async def until(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        async with asyncio.timeout(60):
            while len(self.told) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.told


def shown(content: bytes) -> dict[str, Any]:
    return {**PICTURE, "content": base64.b64encode(content).decode()}


def content(told: tuple[str, dict[str, Any]]) -> bytes:
    assert told[0] == "preview"
    return base64.b64decode(told[1]["image"].partition(",")[2])


async def watched(services: Services, run_id: str) -> int:
    async with services.db.system() as transaction:
        query = "SELECT count(*) FROM run_previews WHERE run_id = %(run)s AND watched_until > now()"
        return await transaction.one_value(query, {"run": run_id}, of=int)


async def until_asked(worker: Worker, lease: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        while not (await worker.heartbeat(lease)).json()["preview"]:
            await asyncio.sleep(0.02)


async def test_a_waiting_run_tells_where_it_stands_and_when_that_changes(
    http: httpx.AsyncClient, client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    first, run = await dispatch(), await dispatch()
    listener = Listener(http, run)
    told = await listener.until(1)
    assert told[0][0] == "queue"
    assert (told[0][1]["queue_position"], told[0][1]["run_id"]) == (2, run["id"])
    await client.post(f"/v1/runs/{first['id']}/cancellation")
    told = await listener.until(2)
    assert told[1][1]["queue_position"] == 1
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    async with asyncio.timeout(60):
        await listener.task
    assert {kind for kind, _ in listener.told} == {"queue"}


async def test_pictures_are_sent_while_somebody_wants_them(
    http: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    answer = (await worker.heartbeat(lease, BEGUN, preview=shown(b"unseen"))).json()
    assert answer["preview"] is False and await watched(services, run["id"]) == 0, "nobody looks on: nothing is kept"
    plain, listener = Listener(http, run), Listener(http, run, previews="true")
    await until_asked(worker, lease)
    await worker.heartbeat(lease, preview=shown(b"first"))
    (told,) = await listener.until(1)
    assert told[1] == {**PICTURE, "image": told[1]["image"], "run_id": run["id"]} and content(told) == b"first"
    await worker.heartbeat(lease, preview=shown(b"second"))
    assert content((await listener.until(2))[1]) == b"second"
    await worker.fail(lease, "EXECUTION_FAILED")
    async with asyncio.timeout(60):
        await asyncio.gather(plain.task, listener.task)
    assert plain.told == []
    assert await watched(services, run["id"]) == 0


async def test_one_who_leaves_takes_the_pictures_from_nobody_else(
    http: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease, BEGUN)
    stays, leaves = Listener(http, run, previews="true"), Listener(http, run, previews="true")
    await until_asked(worker, lease)
    for number in range(3):
        await worker.heartbeat(lease, preview=shown(b"%d" % number))
        await asyncio.gather(stays.until(number + 1), leaves.until(number + 1))
    leaves.task.cancel()
    await asyncio.gather(leaves.task, return_exceptions=True)
    await until_asked(worker, lease)
    async with asyncio.timeout(60):
        while len(stays.told) < 4:
            await worker.heartbeat(lease, preview=shown(b"after"))
            await asyncio.sleep(0.05)
    assert content(stays.told[3]) == b"after"
    await worker.fail(lease, "EXECUTION_FAILED")
    async with asyncio.timeout(60):
        await stays.task


async def test_a_picture_has_a_limit(worker: Worker, dispatch: Dispatch) -> None:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    assert (await worker.heartbeat(lease, preview=shown(b"x" * 300_000))).status_code == 422
    assert (await worker.heartbeat(lease, preview={**shown(b"x"), "content_type": "text/html"})).status_code == 422
