import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runflow.outgoing import (
    Answer,
    BlockedAddress,
    EncodedContent,
    GuardedClient,
    HttpStatusError,
    InvalidNetworks,
    InvalidUrl,
    OutgoingConnectionError,
    OutgoingTimeout,
    TooLarge,
    TooManyRedirects,
)
from tests.outgoing.certificates import authority_and_server
from tests.support.receivers import (
    Received,
    Receiver,
    answering,
    dripping,
    endless,
    hanging,
    receiver,
    resetting,
    taking_nothing,
    talking_nonsense,
)

LOCAL = "127.0.0.0/8"


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(LOCAL) as opened:
        yield opened


async def post(client: GuardedClient, url: str, timeout: float = 60.0) -> Answer:
    return await client.post(url, b'{"a":1}', {"Content-Type": "application/json"}, timeout, 2048)


async def test_post_sends_bytes_and_headers(client: GuardedClient) -> None:
    async with receiver(answering(200, b"thanks", Set_Cookie="a=b")) as hook:
        answer = await post(client, hook.url("/hook?token=1"))
        await post(client, hook.url())
    first, second = hook.requests
    assert (answer.status, answer.body) == (200, b"thanks")
    assert 0 <= answer.elapsed_ms < 60_000
    assert (first.method, first.path, first.body) == ("POST", "/hook?token=1", b'{"a":1}')
    assert first.headers["content-type"] == "application/json"
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["host"] == f"127.0.0.1:{hook.port}"
    assert "cookie" not in second.headers


@pytest.mark.parametrize("status", [204, 304, 404, 410, 500, 503])
async def test_every_status_is_an_answer(client: GuardedClient, status: int) -> None:
    async with receiver(answering(status, b"")) as hook:
        assert (await post(client, hook.url())).status == status


async def test_proxies_of_the_environment_are_not_used(client: GuardedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with receiver(answering()) as hook:
        assert (await post(client, hook.url())).status == 200


async def test_loopback_is_refused_by_default() -> None:
    async with GuardedClient() as client, receiver(answering()) as hook:
        for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
            with pytest.raises(BlockedAddress):
                await post(client, hook.url(host=host))
    assert hook.requests == []


async def test_localhost_is_reached_through_the_allowed_one_of_its_addresses(client: GuardedClient) -> None:
    async with receiver(answering()) as hook:
        assert (await post(client, hook.url(host="localhost"))).status == 200


async def test_an_allowed_origin_is_allowed_exactly() -> None:
    async with (
        receiver(answering()) as hook,
        receiver(answering()) as other,
        GuardedClient(allowed_origins=[hook.url("")]) as client,
    ):
        assert (await post(client, hook.url())).status == 200
        for url in (other.url(), hook.url(host="localhost"), f"https://127.0.0.1:{hook.port}/"):
            with pytest.raises(BlockedAddress):
                await post(client, url)
    assert other.requests == []


def test_bad_settings_are_named() -> None:
    with pytest.raises(InvalidNetworks):
        GuardedClient("intranet")
    with pytest.raises(InvalidUrl):
        GuardedClient(allowed_origins=["storage"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_gets_the_same_post(client: GuardedClient, status: int) -> None:
    async with receiver(answering()) as end, receiver(answering(status, b"", Location=end.url("/there"))) as hook:
        assert (await post(client, hook.url())).status == 200
    assert [(seen.method, seen.path, seen.body) for seen in end.requests] == [("POST", "/there", b'{"a":1}')]


async def test_see_other_gets_a_get(client: GuardedClient) -> None:
    async with receiver(answering()) as end, receiver(answering(303, b"", Location=end.url("/there"))) as hook:
        assert (await post(client, hook.url())).status == 200
    assert [(seen.method, seen.body) for seen in end.requests] == [("GET", b"")]


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]:8700/", "http://2852039166/"],
)
async def test_a_redirect_into_a_private_network_is_refused(client: GuardedClient, location: str) -> None:
    async with receiver(answering(302, b"", Location=location)) as hook:
        with pytest.raises(BlockedAddress):
            await post(client, hook.url())


async def test_a_redirect_to_loopback_is_refused() -> None:
    async with (
        receiver(answering()) as inside,
        receiver(answering(307, b"", Location=inside.url())) as hook,
        GuardedClient(allowed_origins=[hook.url("")]) as client,
    ):
        with pytest.raises(BlockedAddress):
            await post(client, hook.url())
    assert (len(hook.requests), len(inside.requests)) == (1, 0)


async def test_three_redirects_are_followed_and_a_fourth_is_not(client: GuardedClient) -> None:
    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int(received.path.rsplit("/", 1)[1])
        await (answering(302, b"", Location=f"/{left - 1}") if left else answering())(received, reader, writer)

    async with receiver(behave) as hook:
        assert (await post(client, hook.url("/3"))).status == 200
        hook.requests.clear()
        with pytest.raises(TooManyRedirects, match="more than 3 times"):
            await post(client, hook.url("/4"))
    assert [seen.path for seen in hook.requests] == ["/4", "/3", "/2", "/1"]


async def until_closed(hook: Receiver) -> None:
    async with asyncio.timeout(30):
        while hook.open:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("behave", [hanging, dripping(b""), dripping(b"HTTP/1.1 200 OK\r\nX: ")])
async def test_the_time_limit_is_for_everything(client: GuardedClient, behave: object) -> None:
    async with receiver(behave) as hook:  # type: ignore[arg-type]
        with pytest.raises(OutgoingTimeout, match=r"127\.0\.0\.1:\d+ did not answer completely within 0\.3 seconds"):
            async with asyncio.timeout(30):  # a limit for each read would let one that drips go on for ever
                await post(client, hook.url("/hook?token=secret"), timeout=0.3)
        await until_closed(hook)


async def test_a_receiver_that_reads_nothing_ends_by_the_time_limit(client: GuardedClient) -> None:
    async with receiver(taking_nothing, reads=False) as hook:
        with pytest.raises(OutgoingTimeout):
            await client.post(hook.url(), b"x" * 50_000_000, {}, 0.5, 2048)


async def test_a_body_that_drips_does_not_undo_its_status(
    client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.outgoing.client.BODY_SECONDS", 0.3)
    async with receiver(dripping(b"HTTP/1.1 200 OK\r\n\r\nthanks ")) as hook:
        answer = await post(client, hook.url())
        assert answer.status == 200
        assert answer.body.startswith(b"thanks ")
        await until_closed(hook)


async def test_a_gigabyte_is_not_read(client: GuardedClient) -> None:
    made: list[Receiver] = []
    async with receiver(endless(made, b"HTTP/1.1 500 X\r\nContent-Length: 1073741824\r\n\r\n")) as hook:
        made.append(hook)
        answer = await post(client, hook.url())
        await until_closed(hook)
    assert (answer.status, len(answer.body)) == (500, 2048)
    assert hook.bytes_sent < 32 * 1024 * 1024, "what the sockets buffer, no more"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n"])
async def test_endless_headers_are_refused(client: GuardedClient, head: bytes) -> None:
    made: list[Receiver] = []
    async with receiver(endless(made, head)) as hook:
        made.append(hook)
        with pytest.raises(OutgoingConnectionError):
            await post(client, hook.url())


async def test_connection_errors_are_told_apart(client: GuardedClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OutgoingConnectionError, match="refused the connection"):
            await post(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    async with receiver(resetting) as hook:
        with pytest.raises(OutgoingConnectionError, match=r"reset the connection|broke off"):
            await post(client, hook.url())
    async with receiver(talking_nonsense, reads=False) as hook:
        with pytest.raises(OutgoingConnectionError, match="did not answer in HTTP"):
            await post(client, hook.url())
    async with receiver(talking_nonsense, reads=False) as hook:
        with pytest.raises(OutgoingConnectionError, match="TLS"):
            await post(client, f"https://127.0.0.1:{hook.port}/")


async def test_a_tls_handshake_that_hangs_ends_and_leaves_no_connection(client: GuardedClient) -> None:
    async with receiver(answering()) as hook:  # waits for an HTTP request and gets a client hello
        with pytest.raises(OutgoingTimeout):
            await post(client, f"https://127.0.0.1:{hook.port}/", timeout=0.3)
        await until_closed(hook)


async def test_tls_verifies_the_name_that_was_asked_for(tmp_path: Path) -> None:
    trust, server = authority_and_server(tmp_path, "receiver.example")
    seen: list[str | None] = []
    server.sni_callback = lambda connection, name, context: seen.append(name)

    async def local(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with receiver(answering(), server) as hook, GuardedClient(LOCAL, resolver=local, ssl_context=trust) as client:
        assert (await post(client, hook.url(host="receiver.example"))).status == 200
        with pytest.raises(OutgoingConnectionError, match=r"certificate of other\.example:\d+ is not valid"):
            await post(client, hook.url(host="other.example"))
    assert seen == ["receiver.example", "other.example"]
    assert len(hook.requests) == 1
    async with receiver(answering(), server) as hook, GuardedClient(LOCAL, resolver=local) as client:
        with pytest.raises(OutgoingConnectionError, match="certificate"):
            await post(client, hook.url(host="receiver.example"))
    assert trust.verify_mode is ssl.CERT_REQUIRED


async def test_fetch_writes_the_file(client: GuardedClient, tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_000
    headers = {"Content_Type": "image/PNG; charset=x", "Content_Disposition": 'inline; filename="../cat.png"'}
    async with receiver(answering(200, content, **headers)) as host:
        fetched = await client.fetch(host.url(), limit=len(content), timeout=60, destination=tmp_path / "in")
    assert fetched.path.read_bytes() == content
    assert (fetched.size_bytes, fetched.content_type, fetched.filename) == (len(content), "image/png", "cat.png")
    assert fetched.sha256 == hashlib.sha256(content).hexdigest()
    assert host.requests[0].method == "GET"


async def test_fetch_follows_a_redirect_and_takes_the_last_name(client: GuardedClient, tmp_path: Path) -> None:
    async with receiver(answering(200, b"")) as end, receiver(answering(303, b"", Location=end.url("/b.png"))) as host:
        fetched = await client.fetch(host.url("/a"), limit=10, timeout=60, destination=tmp_path / "in")
    assert (fetched.filename, fetched.size_bytes, fetched.content_type) == ("b.png", 0, None)


async def test_fetch_refuses_what_is_too_large(client: GuardedClient, tmp_path: Path) -> None:
    destination = tmp_path / "in"
    async with receiver(answering(200, b"12345")) as host:
        with pytest.raises(TooLarge, match="more than the 4 bytes"):
            await client.fetch(host.url(), limit=4, timeout=60, destination=destination)
    made: list[Receiver] = []
    async with receiver(endless(made, b"HTTP/1.1 200 OK\r\n\r\n")) as host:
        made.append(host)
        with pytest.raises(TooLarge):
            await client.fetch(host.url(), limit=5_000_000, timeout=60, destination=destination)
        await until_closed(host)
    assert host.bytes_sent < 48 * 1024 * 1024
    assert not destination.exists()


async def test_fetch_leaves_nothing_when_it_fails(client: GuardedClient, tmp_path: Path) -> None:
    destination = tmp_path / "in"
    half = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
    async with receiver(half) as host:
        with pytest.raises(OutgoingTimeout):
            await client.fetch(host.url(), limit=10**8, timeout=0.3, destination=destination)

    async def stop_early(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        await writer.drain()

    async with receiver(stop_early) as host:
        with pytest.raises(OutgoingConnectionError, match="broke off"):
            await client.fetch(host.url(), limit=10**8, timeout=60, destination=destination)
    async with receiver(answering(404)) as host:
        with pytest.raises(HttpStatusError, match="404") as caught:
            await client.fetch(host.url("/x?token=secret"), limit=100, timeout=60, destination=destination)
    assert caught.value.status == 404
    assert "secret" not in str(caught.value)
    assert not destination.exists()


async def test_fetch_unpacks_nothing(client: GuardedClient, tmp_path: Path) -> None:
    async with receiver(answering(200, b"x", Content_Encoding="gzip, gzip")) as host:
        with pytest.raises(EncodedContent, match="gzip, gzip"):
            await client.fetch(host.url(), limit=100, timeout=60, destination=tmp_path / "in")


async def test_fetch_says_when_the_disk_refuses(client: GuardedClient, tmp_path: Path) -> None:
    async with receiver(answering()) as host:
        with pytest.raises(FileNotFoundError):
            await client.fetch(host.url(), limit=100, timeout=60, destination=tmp_path / "missing" / "in")


async def test_a_cancelled_post_leaves_no_connection(client: GuardedClient) -> None:
    async with receiver(hanging) as hook:
        task = asyncio.ensure_future(post(client, hook.url()))
        async with asyncio.timeout(30):
            while not hook.requests:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_closed(hook)
