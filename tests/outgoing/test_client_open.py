"""`GuardedClient.open`: answers of any size, read while they come, with credentials for one origin."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from runflow.outgoing import (
    BlockedAddress,
    EncodedContent,
    GuardedClient,
    HttpStatusError,
    InvalidUrl,
    OutgoingConnectionError,
    OutgoingTimeout,
    TooManyRedirects,
)
from runflow.outgoing.urls import Origin
from tests.support.receivers import Behaviour, Received, answering, dripping, hanging, receiver
from tests.support.waiting import until

CREDENTIALS = {"Authorization": "Bearer secret", "X-Key": "secret"}


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient("127.0.0.0/8") as opened:
        yield opened


def everywhere(origin: Origin) -> Mapping[str, str]:
    return CREDENTIALS


async def read(client: GuardedClient, url: str, timeout: float = 60.0) -> bytes:
    async with client.open(url, credentials=everywhere, timeout=timeout) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


def has_credentials(received: Received) -> bool:
    found = {name: received.headers.get(name.lower()) for name in CREDENTIALS}
    assert found in (CREDENTIALS, dict.fromkeys(CREDENTIALS))
    return found == CREDENTIALS


def leading(*locations: str) -> Behaviour:
    """Redirect `/0` to the first of the locations, `/1` to the second, and answer what leads nowhere."""

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(received.path.strip("/"))
        here = answering(307, b"", Location=locations[number]) if number < len(locations) else answering()
        await here(received, reader, writer)

    return behave


async def test_an_answer_is_read_while_it_comes(client: GuardedClient) -> None:
    async with receiver(answering(206, b"12345", Content_Range="bytes 1-5/9", ETag='"1"')) as host:
        async with client.open(host.url("/x?token=1"), headers={"Range": "bytes=1-5"}) as answer:
            assert answer.status == 206
            assert answer.headers["content-range"] == answer.headers["Content-Range"] == "bytes 1-5/9"
            assert (answer.headers["etag"], answer.headers["content-length"]) == ('"1"', "5")
            assert b"".join([chunk async for chunk in answer.chunks]) == b"12345"
        await until(lambda: not host.open)
    sent = host.requests[0].headers
    assert (sent["range"], sent["accept-encoding"]) == ("bytes=1-5", "identity")
    assert not has_credentials(host.requests[0])


async def test_the_origin_of_the_url_gets_its_credentials(client: GuardedClient) -> None:
    asked: list[Origin] = []

    def credentials(origin: Origin) -> Mapping[str, str]:
        asked.append(origin)
        return CREDENTIALS

    async with receiver(leading("/1", "/2")) as host, client.open(host.url("/0"), credentials=credentials):
        pass
    assert [has_credentials(seen) for seen in host.requests] == [True, True, True]
    assert asked == [("http", "127.0.0.1", host.port)]


async def test_another_origin_gets_none_and_no_way_back_brings_them_again(client: GuardedClient) -> None:
    async with receiver(answering()) as last:
        back: list[str] = []

        async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answering(302, b"", Location=back[0])(received, reader, writer)

        async with receiver(behave) as between, receiver(leading(between.url("/"), last.url())) as host:
            back.append(host.url("/1"))
            assert await read(client, host.url("/0")) == b"ok"
    assert [has_credentials(seen) for seen in host.requests] == [True, False]
    assert [has_credentials(seen) for seen in between.requests + last.requests] == [False, False]


async def test_another_name_of_the_host_is_another_origin(client: GuardedClient) -> None:
    async with receiver(leading()) as host, receiver(leading(host.url("/1", host="localhost"))) as first:
        assert await read(client, first.url("/0")) == b"ok"
    assert [has_credentials(seen) for seen in host.requests] == [False]


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]/"])
async def test_a_redirect_into_a_private_network_is_refused(client: GuardedClient, location: str) -> None:
    async with receiver(leading("/1", location)) as host:
        with pytest.raises(BlockedAddress):
            await read(client, host.url("/0"))
        with pytest.raises(BlockedAddress):
            await read(client, location)
    assert len(host.requests) == 2


async def test_a_fourth_redirect_is_not_followed(client: GuardedClient) -> None:
    async with receiver(leading("/1", "/2", "/3", "/4")) as host:
        assert await read(client, host.url("/1")) == b"ok"
        with pytest.raises(TooManyRedirects):
            await read(client, host.url("/0"))


async def test_what_is_not_the_file_is_refused(client: GuardedClient) -> None:
    for status in (304, 404, 500):
        async with receiver(answering(status, b"")) as host:
            with pytest.raises(HttpStatusError) as refused:
                await read(client, host.url("/?token=secret"))
            assert refused.value.status == status
            assert "secret" not in str(refused.value)
            await until(lambda host=host: not host.open)
    async with receiver(answering(200, b"x", Content_Encoding="br")) as host:
        with pytest.raises(EncodedContent, match="br"):
            await read(client, host.url())
        await until(lambda: not host.open)
    with pytest.raises(InvalidUrl):
        await read(client, "file:///etc/passwd")


@pytest.mark.parametrize("behave", [hanging, dripping(b""), dripping(b"HTTP/1.1 200 OK\r\nX: ")])
async def test_an_answer_that_does_not_begin_ends_by_the_limit(client: GuardedClient, behave: Behaviour) -> None:
    async with receiver(behave) as host:
        with pytest.raises(OutgoingTimeout, match=r"127\.0\.0\.1:\d+ gave no answer for 0\.3 seconds"):
            await read(client, host.url("/?token=secret"), timeout=0.3)
        await until(lambda: not host.open)


async def test_a_body_that_stands_still_ends_by_the_limit(client: GuardedClient) -> None:
    async def half(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await hanging(received, reader, writer)

    came = b""
    async with receiver(half) as host:
        with pytest.raises(OutgoingTimeout, match=r"sent nothing for 0\.3 seconds"):
            async with client.open(host.url("/?token=secret"), timeout=0.3) as answer:
                async for chunk in answer.chunks:
                    came += chunk
        await until(lambda: not host.open)
    assert came == b"12345"


async def test_a_body_that_breaks_off_says_so(client: GuardedClient) -> None:
    async def half(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")

    async with receiver(half) as host:
        with pytest.raises(OutgoingConnectionError, match="broke off"):
            await read(client, host.url())


async def test_an_answer_need_not_be_read(client: GuardedClient) -> None:
    async with receiver(dripping(b"HTTP/1.1 200 OK\r\n\r\n")) as host:
        async with client.open(host.url()) as answer:
            assert await anext(answer.chunks)
        await until(lambda: not host.open)
