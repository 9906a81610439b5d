"""Requests over kept connections, against a server that answers, stalls, breaks off or lies, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runflow.tls import next_step
from runflow.worker.server_api.origin_client import OriginClient
from tests.support.certificate import make_certificate
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Peer:
    """The other side: `requests` as they came, `connections` as many as were opened."""

    def __init__(self, answer: Callable[["Peer", asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
                self.requests.append(head + await reader.readexactly(length))
                await self._answer(self, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def client(self, headers: dict[str, str] | None = None, *, keep_seconds: float = 60) -> OriginClient:
        url = f"http://127.0.0.1:{self.port}/base/"
        return OriginClient(url, headers=headers or {}, connect_seconds=5, keep_seconds=keep_seconds)


@asynccontextmanager
async def serving(answer: Callable[[Peer, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Peer]:
    peer = Peer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()


async def hi(_: Peer, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def nothing(_: Peer, __: asyncio.StreamWriter) -> None:
    """Let them wait."""


async def test_a_request_carries_what_it_should_and_its_connection_is_kept() -> None:
    async with serving(hi) as peer, peer.client({"Authorization": "Bearer x"}) as client:
        assert await client.exchange("POST", "/a b\r\n?q=1", b"body", headers={"X": "1"}, seconds=5) == (200, b"hi")
        assert await client.exchange("POST", "/none", seconds=5) == (200, b"hi")
        assert await client.exchange("GET", "/got", seconds=5) == (200, b"hi")
        first, second, third = peer.requests
        assert first.startswith(b"POST /base/a%20b%0D%0A?q=1 HTTP/1.1\r\n")
        for line in (f"Host: 127.0.0.1:{peer.port}", "Authorization: Bearer x", "X: 1", "Content-Length: 4"):
            assert f"\r\n{line}\r\n".encode() in first
        assert first.endswith(b"\r\n\r\nbody")
        assert b"\r\nContent-Length: 0\r\n" in second
        assert b"Content-Length" not in third
        assert peer.connections == 1


async def test_requests_at_once_have_connections_of_their_own() -> None:
    arrived = asyncio.Event()

    async def both(peer: Peer, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) == 2:
            arrived.set()
        await arrived.wait()
        writer.write(OK)

    async with serving(both) as peer, peer.client() as client:
        answers = await asyncio.gather(*(client.exchange("POST", "/", bytes(100_000), seconds=30) for _ in range(2)))
        assert answers == [(200, b"hi")] * 2
        assert peer.connections == 2


async def test_a_connection_that_was_idle_too_long_is_not_used_again() -> None:
    async with serving(hi) as peer, peer.client(keep_seconds=0) as client:
        for _ in range(2):
            await client.exchange("POST", "/", b"", seconds=5)
        assert peer.connections == 2


async def test_what_stands_on_a_kept_connection_unasked_ends_it() -> None:
    answered = asyncio.Event()

    async def more(peer: Peer, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if len(peer.requests) == 1:
            await answered.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake")

    async with serving(more) as peer, peer.client() as client:
        await client.exchange("POST", "/", b"", seconds=5)
        answered.set()
        await until(lambda: not client._open)
        assert await client.exchange("POST", "/", b"", seconds=5) == (200, b"hi")
        assert peer.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_only_what_changes_nothing_is_sent_again(method: str) -> None:
    """The second request meets a connection that the other side closes without an answer."""

    async def not_the_second(peer: Peer, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) == 2:
            raise ConnectionError
        writer.write(OK)

    async with serving(not_the_second) as peer, peer.client() as client:
        await client.exchange(method, "/", seconds=5)
        if method == "POST":
            with pytest.raises(ConnectionError, match="Server disconnected"):
                await client.exchange(method, "/", seconds=5)
        assert await client.exchange(method, "/", seconds=5) == (200, b"hi")
        assert (len(peer.requests), peer.connections) == (3, 2)


async def test_an_answer_that_does_not_come_or_is_none_ends_the_request() -> None:
    async def lie(_: Peer, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with serving(nothing) as peer, peer.client() as client:
        with pytest.raises(TimeoutError):
            await client.exchange("POST", "/", b"", seconds=0.05)
        waiting = asyncio.create_task(client.exchange("POST", "/", b"", seconds=60))
        await until(lambda: len(peer.requests) == 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: not client._open)
        waiting = asyncio.create_task(client.exchange("POST", "/", b"", seconds=60))
        await until(lambda: len(peer.requests) == 3)
        await client.close()
        with pytest.raises(ConnectionError):
            await waiting
    async with serving(lie) as peer, peer.client() as client:
        with pytest.raises(ConnectionError, match="not HTTP"):
            await client.exchange("GET", "/", seconds=5)
        await until(lambda: not client._open)


async def test_nobody_there_is_said_with_the_address() -> None:
    async with serving(hi) as peer:
        pass
    async with peer.client() as client:
        with pytest.raises(ConnectionError, match=f"Cannot connect to host 127.0.0.1:{peer.port} "):
            await client.exchange("GET", "/", seconds=5)


async def test_only_a_trusted_certificate_of_the_right_name_is_spoken_to(tmp_path: Path) -> None:
    trusted = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted.chain, trusted.key)
    server = await asyncio.start_server(Peer(hi).serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    def client(host: str, ssl_context: ssl.SSLContext | None) -> OriginClient:
        url = f"https://{host}:{port}"
        return OriginClient(url, headers={}, connect_seconds=5, keep_seconds=60, ssl_context=ssl_context)

    async with client("localhost", trusted.context) as known:
        assert await known.exchange("POST", "/", bytes(1_000_000), seconds=10) == (200, b"hi")
    for host, ssl_context in (("localhost", None), ("127.0.0.1", trusted.context)):
        async with client(host, ssl_context) as other:
            with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED") as refused:
                await other.exchange("POST", "/", b"", seconds=5)
            assert next_step(refused.value)
    server.close()


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://", "http://x:99999"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        OriginClient(url, headers={}, connect_seconds=1, keep_seconds=1)


def test_no_header_can_smuggle_another() -> None:
    with pytest.raises(ValueError, match="header 'X'"):
        OriginClient("http://x", headers={"X": "1\r\nY: 2"}, connect_seconds=1, keep_seconds=1)
