"""A server on a real socket, whose clock the test moves: who may stay, and who has to go."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import uvicorn

from runflow.web.connections import (
    BODY_BYTES,
    BODY_SECONDS,
    HEAD_BYTES,
    HEAD_SECONDS,
    UNREAD_SECONDS,
    Connections,
    room_for,
)
from tests.support.waiting import until

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = bytes(32 * 1024 * 1024)
"""More than the buffers of two sockets hold."""


@dataclass
class Served:
    """A server that answers with the size of the body; `/stream` sends until `over` is set, `/large` sends `LARGE`."""

    now: float = 0.0
    port: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    received: int = 0
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        await self.reads.wait()
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            self.received += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-size", str(size).encode())]})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await self.over.wait()
        if scope["path"] == "/large":
            await send({"type": "http.response.body", "body": LARGE, "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    async def open(self, content: bytes = b"") -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(content)
        self.opened.append(writer)
        return reader, writer


@pytest.fixture
def served() -> Served:
    made = Served()
    made.reads.set()
    return made


@pytest.fixture
def connections(served: Served) -> Connections:
    return Connections(4, clock=lambda: served.now)


@pytest.fixture(autouse=True)
async def server(served: Served, connections: Connections) -> AsyncIterator[None]:
    protocol = cast(type[asyncio.Protocol], connections.protocol())
    config = uvicorn.Config(
        served.app, interface="asgi3", port=0, http=protocol, ws="none", lifespan="off", log_config=None
    )
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    served.port = server.servers[0].sockets[0].getsockname()[1]
    yield
    served.over.set()
    served.reads.set()
    for writer in served.opened:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    server.should_exit = True
    await task


async def ends(stream: Stream) -> bytes:
    """Return what comes until the server has closed."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await stream[0].read(65536):
            received += chunk
    return received


async def answer(stream: Stream) -> bytes:
    return await stream[0].readuntil(b"last")


async def arrived(connections: Connections, count: int) -> None:
    await until(lambda: len(connections._open) == count)


async def test_half_a_request_is_closed_and_who_waits_for_an_answer_is_not(
    served: Served, connections: Connections
) -> None:
    silent, half, stream = await served.open(), await served.open(GET[:-2]), await served.open(
        b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
    )  # fmt: skip
    await stream[0].readuntil(b"first")
    await arrived(connections, 3)
    served.now += HEAD_SECONDS
    assert connections.sweep() == 0
    served.now += 1
    assert connections.sweep() == 2
    assert await ends(silent) == await ends(half) == b""
    served.now += 10_000
    assert connections.sweep() == 0
    served.over.set()
    assert (await answer(stream)).endswith(b"last")


async def test_a_connection_that_is_used_again_has_its_time_anew(served: Served, connections: Connections) -> None:
    stream = await served.open(GET)
    for _ in range(3):
        await answer(stream)
        served.now += 50
        assert connections.sweep() == 0, "between two requests uvicorn's own limit holds"
        stream[1].write(GET)
    await answer(stream)
    before = served.received
    stream[1].write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
    await until(lambda: served.received > before)
    stream[1].write(b"b" + GET[:-2])
    assert b"x-size: 2" in await answer(stream)
    served.now += HEAD_SECONDS + 1
    await until(lambda: connections.sweep() == 1)
    await ends(stream)


async def test_a_body_that_stops_is_closed_and_one_that_goes_on_is_not(
    served: Served, connections: Connections
) -> None:
    size = 10 * BODY_BYTES
    head = f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode()
    slow, steady = await served.open(head + b"x"), await served.open(head)
    await arrived(connections, 2)
    await until(lambda: served.received == 1)
    for step in range(10):
        steady[1].write(bytes(BODY_BYTES))
        await until(lambda step=step: served.received == 1 + (step + 1) * BODY_BYTES)
        served.now += BODY_SECONDS + 1
        assert connections.sweep() == (1 if step == 0 else 0)
    assert f"x-size: {size}".encode() in await answer(steady)
    assert await ends(slow) == b""


async def test_a_body_that_the_server_does_not_read_is_not_late(served: Served, connections: Connections) -> None:
    served.reads.clear()
    size = 1024 * 1024
    stream = await served.open(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size))
    await arrived(connections, 1)
    (one,) = connections._open
    await until(lambda: one.flow is not None and one.flow.read_paused)
    for _ in range(3):
        served.now += BODY_SECONDS + 1
        assert connections.sweep() == 0
    served.reads.set()
    assert f"x-size: {size}".encode() in await answer(stream)


async def test_one_too_many_takes_the_place_of_the_one_that_waited_longest(
    served: Served, connections: Connections
) -> None:
    working = await served.open(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    await working[0].readuntil(b"first")
    idle = []
    for number in range(connections.most - 1):
        served.now += 1
        idle.append(await served.open(GET[:-2]))
        await arrived(connections, number + 2)
    served.now += 1
    assert b"200 OK" in await answer(await served.open(GET))
    assert await ends(idle[0]) == b""
    idle[1][1].write(b"\r\n")
    assert b"200 OK" in await answer(idle[1]), "the others are still there"


async def test_where_all_are_at_work_no_more_come_in(served: Served, connections: Connections) -> None:
    for number in range(connections.most):
        working = await served.open(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await working[0].readuntil(b"first")
        await arrived(connections, number + 1)
    assert await ends(await served.open(GET)) == b""
    served.over.set()
    await arrived(connections, connections.most)
    assert b"200 OK" in await answer(await served.open(GET))


@pytest.mark.parametrize(
    "begun",
    [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"],
    ids=["before a body", "behind one"],
)
async def test_headers_without_an_end_are_closed(served: Served, begun: bytes) -> None:
    stream = await served.open(begun)
    with contextlib.suppress(ConnectionError):
        for _ in range(3 * HEAD_BYTES // 1024):
            stream[1].write(b"X: " + b"x" * 1019 + b"\r\n")
            await stream[1].drain()
    assert await ends(stream) == b""


async def test_a_body_of_small_chunks_is_none_of_these(served: Served) -> None:
    stream = await served.open(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(HEAD_BYTES // 1000 + 1):
        stream[1].write(b"1\r\nx\r\n" * 1000)
        await stream[1].drain()
    stream[1].write(b"0\r\n\r\n")
    assert b"x-size: 132000" in await answer(stream)


async def test_the_same_body_comes_again_on_one_connection(served: Served) -> None:
    sent = f"POST / HTTP/1.1\r\nContent-Length: {2 * HEAD_BYTES}\r\n\r\n".encode() + bytes(2 * HEAD_BYTES)
    stream = await served.open(sent)
    for _ in range(2):
        assert f"x-size: {2 * HEAD_BYTES}".encode() in await answer(stream)
        stream[1].write(sent)
    await answer(stream)


async def test_empty_lines_are_no_request(served: Served, connections: Connections) -> None:
    stream = await served.open(GET)
    await answer(stream)
    (one,) = connections._open
    stream[1].write(b"\r\n")
    await until(lambda: one.timeout_keep_alive_task is None)
    served.now += HEAD_SECONDS + 1
    assert connections.sweep() == 1
    await ends(stream)


async def test_an_answer_that_nobody_takes_is_ended_and_one_that_is_taken_is_not(
    served: Served, connections: Connections
) -> None:
    large = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
    unread, read = await served.open(large), await served.open(large)
    await arrived(connections, 2)
    (taken,) = (one for one in connections._open if one.client == read[1].get_extra_info("sockname"))
    received = bytearray()
    swept = 0
    while not swept:  # a few times: first the system's own buffers are filled
        before = taken.transport.get_write_buffer_size()

        async def goes_on(before: int = before) -> bool:
            received.extend(await read[0].read(65536))
            return taken.transport.get_write_buffer_size() != before

        await until(goes_on)
        served.now += UNREAD_SECONDS + 1
        swept = connections.sweep()
    assert swept == 1
    assert len(await ends(unread)) < len(LARGE)
    while b"last" not in received[-64:]:
        received.extend(await read[0].read(65536))
    assert len(received) > len(LARGE)


async def test_there_are_no_more_connections_than_the_process_may_have_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [1024, 1024]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, found: limits.__setitem__(0, found[0]))
    assert room_for(100) == 100
    assert room_for(4000) == 1024 - 256
    limits[:] = [1024, 1_000_000]
    assert room_for(4000) == 4000 and limits[0] == 4256
