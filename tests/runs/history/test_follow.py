"""The event stream over a real socket: complete, resumable, shared by listeners, and gone when nobody listens."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from runflow.queue.sweeper import Sweeper
from runflow.runs.history import follow
from runflow.web import event_stream
from runflow.web.rate_limits import RateLimits
from runflow.web.services import Services
from tests.support.deployed import Dispatch, Worker
from tests.support.queue_records import expire
from tests.support.waiting import until

AT = "2026-01-01T00:00:00+00:00"


class Stream:
    """What a listener heard so far."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.comments = 0

    @property
    def ids(self) -> list[int]:
        return [event["id"] for event in self.events]

    @property
    def statuses(self) -> list[str]:
        return [event["data"]["status_code"] for event in self.events if event["event"] == "status"]

    async def listen(self, http: httpx.AsyncClient, run: dict[str, Any], **headers: str) -> "Stream":
        async with http.stream("GET", f"/v1/runs/{run['id']}/events", headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for block in blocks(answer):
                if block.startswith(":"):
                    self.comments += 1
                elif block.startswith("id:"):
                    fields = dict(line.split(": ", 1) for line in block.splitlines())
                    self.events.append(
                        {"id": int(fields["id"]), "event": fields["event"], "data": orjson.loads(fields["data"])}
                    )
        return self

    async def heard(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.events) < count:
                await asyncio.sleep(0.01)


async def blocks(answer: httpx.Response) -> AsyncIterator[str]:
    text = ""
    async for part in answer.aiter_text():
        text += part
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            yield block


def event(number: int, type_: str, **data: Any) -> dict[str, Any]:
    return {"number": number, "type": type_, "at": AT, "data": data}


async def leased(dispatch: Dispatch, worker: Worker) -> tuple[dict[str, Any], dict[str, Any]]:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    return run, lease


async def test_a_listener_hears_everything_as_it_happens_until_the_end(
    http: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    stream = Stream()
    async with asyncio.timeout(90):
        listening = asyncio.create_task(stream.listen(http, run, Origin="https://app.example"))
        await stream.heard(1)
        lease = await worker.lease()
        assert lease is not None
        await worker.heartbeat(lease, event(1, "status", status_code="running"), event(2, "log", message="hello"))
        await stream.heard(4)
        await worker.heartbeat(lease, event(3, "progress", value=1, max=4), event(4, "progress", value=2, max=4))
        await stream.heard(5)
        await worker.fail(lease, "EXECUTION_FAILED")
        await listening
    assert stream.statuses == ["queued", "dispatching", "running", "failed"]
    assert [one["event"] for one in stream.events] == ["status", "status", "status", "log", "progress", "status"]
    assert stream.events[3]["data"]["message"] == "hello" and stream.events[4]["data"]["value"] == 2
    last = stream.events[-1]["data"]
    assert last["is_terminal"] is True and last["failure_code"] == "EXECUTION_FAILED"
    assert all(one["data"]["run_id"] == run["id"] and one["data"]["timestamp"] for one in stream.events)
    line = (await http.get(f"/v1/runs/any/logs/{stream.events[3]['data']['id']}")).json()
    assert (line["message"], line["number"]) == ("hello", stream.events[3]["id"])


async def test_a_listener_that_comes_back_misses_nothing_and_hears_nothing_twice(
    http: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    await worker.heartbeat(lease, *(event(number, "log", message=str(number)) for number in range(1, 6)))
    await worker.fail(lease, "ENGINE_CRASHED", retryable=True)
    second = await worker.lease()
    assert second is not None
    await worker.complete(second, outputs=[await worker.upload(second)], events=[event(1, "log", message="again")])
    whole = await Stream().listen(http, run)
    assert whole.statuses == ["queued", "dispatching", "queued", "dispatching", "running", "succeeded"]
    assert whole.ids == sorted(set(whole.ids))
    for at, number in enumerate(whole.ids[:-1]):
        rest = await Stream().listen(http, run, **{"Last-Event-ID": str(number)})
        assert rest.events == whole.events[at + 1 :]
    by_query = await http.get(f"/v1/runs/{run['id']}/events?last_event_id={whole.ids[-1]}")
    assert (by_query.status_code, by_query.content) == (204, b"")


async def test_many_stored_events_come_in_several_looks(
    http: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST", 7)
    run, lease = await leased(dispatch, worker)
    await worker.heartbeat(lease, *(event(number, "log", message=str(number)) for number in range(1, 40)))
    await worker.fail(lease, "EXECUTION_FAILED")
    async with asyncio.timeout(60):
        stream = await Stream().listen(http, run)
    assert [one["data"]["message"] for one in stream.events if one["event"] == "log"] == [str(n) for n in range(1, 40)]
    assert stream.statuses[-1] == "failed"


async def test_a_released_run_and_a_lost_worker_are_told(
    http: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    stream = Stream()
    async with asyncio.timeout(90):
        listening = asyncio.create_task(stream.listen(http, run))
        await stream.heard(1)
        await worker.heartbeat(lease)
        await stream.heard(2)
        await worker.complete(lease, "released")
        await stream.heard(3)
        lease = await worker.lease() or {}
        await worker.heartbeat(lease)
        await stream.heard(4)
        await expire(services, lease)
        await Sweeper(services).sweep_leases()
        await stream.heard(5)
        await http.post(f"/v1/runs/{run['id']}/cancellation", json={"reason": "changed my mind"})
        await listening
    assert stream.statuses == ["queued", "dispatching", "queued", "dispatching", "queued", "cancelled"]
    assert stream.events[-1]["data"]["cancellation_reason"] == "changed my mind"
    assert (await Stream().listen(http, run)).events == stream.events


async def test_listeners_of_one_run_share_each_look(
    http: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look_after = follow.look_after

    async def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return await look_after(*arguments)

    run, lease = await leased(dispatch, worker)
    monkeypatch.setattr(follow, "look_after", counted)
    monkeypatch.setattr(follow, "LOOK_AGAIN_SECONDS", 60.0)
    async with asyncio.timeout(90):
        streams = [Stream() for _ in range(20)]
        listening = [asyncio.create_task(stream.listen(http, run)) for stream in streams]
        await asyncio.gather(*(stream.heard(1) for stream in streams))
        looks = 0
        await worker.heartbeat(lease, event(1, "log", message="one"))
        await asyncio.gather(*(stream.heard(3) for stream in streams))
        assert looks <= 2
        await worker.fail(lease, "EXECUTION_FAILED")
        await asyncio.gather(*listening)
    assert all(stream.events == streams[0].events for stream in streams)


async def test_a_hint_that_was_lost_costs_one_slow_look_and_quiet_times_have_comments(
    http: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "LOOK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(follow, "KEEP_ALIVE_SECONDS", 0.1)
    run, lease = await leased(dispatch, worker)
    stream = Stream()
    async with asyncio.timeout(90):
        listening = asyncio.create_task(stream.listen(http, run))
        await stream.heard(1)
        while stream.comments < 2:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(services.hub, "publish", lambda *hint: None)
        await worker.fail(lease, "EXECUTION_FAILED")
        await listening
    assert stream.statuses[-1] == "failed"


async def test_a_listener_that_leaves_leaves_nothing_behind(
    http: httpx.AsyncClient, services: Services, dispatch: Dispatch
) -> None:
    run = await dispatch()
    followed = services.part(follow._Followers)._runs
    listening = asyncio.create_task(Stream().listen(http, run))
    async with asyncio.timeout(60):
        while not followed:
            await asyncio.sleep(0.01)
        listening.cancel()
        while followed:
            await asyncio.sleep(0.01)


async def test_a_server_that_stops_ends_the_stream_without_an_end(
    http: httpx.AsyncClient, services: Services, dispatch: Dispatch
) -> None:
    run = await dispatch()
    stream = Stream()
    try:
        async with asyncio.timeout(60):
            listening = asyncio.create_task(stream.listen(http, run))
            await stream.heard(1)
            services.stop_waiting()
            await listening
    finally:
        services.stopping = False
    assert stream.statuses == ["queued"]


async def test_what_cannot_be_followed_is_said_in_the_one_envelope(
    http: httpx.AsyncClient, address: str, other_client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch()
    path = f"/v1/runs/{run['id']}/events"
    foreign = {"Authorization": other_client.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=address, headers=foreign) as stranger:
        refused = await stranger.get(path)
    assert (refused.status_code, refused.json()["code"]) == (404, "RUN_NOT_FOUND")
    for bad in ("x", "-1", "1.5", "9" * 19, "١"):
        answer = await http.get(path, params={"last_event_id": bad})
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), bad
    preflight = await http.options(
        path,
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "Authorization, Last-Event-ID",
        },
    )
    assert preflight.status_code == 200
    done = await http.post(f"/v1/runs/{run['id']}/cancellation")
    assert done.status_code == 201
    answer = await http.get(path, headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_one_that_waits_too_many_is_told_to_come_later(
    http: httpx.AsyncClient, dispatch: Dispatch, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await dispatch()
    monkeypatch.setattr(services, "limits", RateLimits(0, most_waiting=1))
    stream = Stream()
    listening = asyncio.create_task(stream.listen(http, run))
    await stream.heard(1)
    for waiting in ("/events", "?wait=1"):
        answer = await http.get(f"/v1/runs/{run['id']}{waiting}")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "RATE_LIMITED", "5")
    assert (await http.get(f"/v1/runs/{run['id']}")).status_code == 200
    await http.post(f"/v1/runs/{run['id']}/cancellation")
    await listening
    assert (await http.get(f"/v1/runs/{run['id']}?wait=1")).json()["is_terminal"]


async def test_a_listener_that_does_not_read_is_ended_and_goes_on_where_it_was(
    http: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(event_stream, "STALLED_SECONDS", 0.3)
    run, lease = await leased(dispatch, worker)
    await worker.heartbeat(lease, *(event(number, "log", message="x" * 16_000) for number in range(1, 200)))
    await worker.fail(lease, "EXECUTION_FAILED")
    followers = services.part(follow._Followers)._runs
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(listener, (http.base_url.host, http.base_url.port))
        authorization = f"Authorization: {http.headers['Authorization']}"
        lines = (f"GET /v1/runs/{run['id']}/events HTTP/1.1", "Host: localhost", authorization)
        await loop.sock_sendall(listener, "".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await until(lambda: UUID(run["id"]) in followers)
        await until(lambda: UUID(run["id"]) not in followers)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while part := await loop.sock_recv(listener, 1 << 20):
                heard += part
    ids = [int(number) for number in re.findall(rb"^id: ([0-9]+)\nevent: [a-z]+\ndata: .*\n\n", heard, re.MULTILINE)]
    assert 0 < len(ids) < 150
    rest = await Stream().listen(http, run, **{"Last-Event-ID": str(ids[-1])})
    whole = await Stream().listen(http, run)
    assert ids + rest.ids == whole.ids
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_pieces_are_small_and_shared(
    http: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await leased(dispatch, worker)
    await worker.heartbeat(lease, *(event(number, "log", message="x" * 3000) for number in range(1, 60)))
    org = (await services.authenticator.principal(http.headers["Authorization"].removeprefix("Bearer "))).org_id  # type: ignore[union-attr]
    with services.part(follow._Followers).following(UUID(run["id"])) as followed:
        first, second = [await follow._look(services, followed, org, UUID(run["id"]), 0) for _ in range(2)]
    assert first is second
    assert len(first.pieces) > 8 and max(map(len, first.pieces)) <= follow.PIECE_BYTES
