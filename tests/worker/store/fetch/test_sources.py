"""The two sources of files: what they ask for, what they make of an answer, and who gets the operator's credentials."""

import errno
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runflow.outgoing import BlockedAddress, GuardedClient
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.fetch.ranges import Source, SourceFailed, download
from runflow.worker.store.fetch.sources import AddressSource, ServerSource
from tests.support.receivers import Behaviour, Receiver, answering, receiver, resetting
from tests.worker.store.storage import BLOCK, Gate, Storage, content_of, serving

CONTENT = content_of(9 * BLOCK + 1)
TOKEN = "hf_s3cr3t"


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient("127.0.0.0/8") as opened:
        yield opened


@pytest.fixture(params=["server", "address"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Sources:
    """Makes sources of one kind."""

    def __init__(self, kind: str, connection: Connection, client: GuardedClient) -> None:
        self._kind, self._connection, self._client = kind, connection, client

    def of(self, url: str) -> Source:
        if self._kind == "server":
            return ServerSource(self._connection, url)
        return AddressSource(self._client, url, Credentials())


@pytest.fixture
async def sources(kind: str, connection: Connection, client: GuardedClient) -> Sources:
    return Sources(kind, connection, client)


async def failure(source: Source, start: int = 0, end: int | None = None) -> SourceFailed:
    """Return what opening and reading fails with; it never tells more of an address than the host."""
    with pytest.raises(SourceFailed) as failed:
        await read(source, start, end)
    for secret in ("SECRET", "hook", TOKEN):
        assert secret not in str(failed.value)
    return failed.value


async def read(source: Source, start: int = 0, end: int | None = None, validator: str | None = None) -> bytes:
    async with source.open(start, end, validator) as body:
        return b"".join([chunk async for chunk in body.chunks])


async def fetch(source: Source, part: Path, **changes: Any) -> bytes:
    settings: dict[str, Any] = {"size_bytes": None, "most_bytes": 1 << 30, "patience": 60, "block_bytes": BLOCK}
    await download(source, part, **{**settings, **changes})
    return part.read_bytes()


async def test_a_part_is_what_was_asked_for(sources: Sources) -> None:
    async with serving(Storage(CONTENT)) as storage:
        source = sources.of(storage.url)
        async with source.open(10, 30, '"1"') as body:
            assert (body.start, body.total_bytes, body.validator, body.is_part) == (10, len(CONTENT), '"1"', True)
            assert b"".join([chunk async for chunk in body.chunks]) == CONTENT[10:30]
        assert await read(source, 20) == CONTENT[20:]
        sent = storage.requests[0].headers
        assert (sent["Range"], sent["If-Range"], sent["Accept-Encoding"]) == ("bytes=10-29", '"1"', "identity")
        async with source.open(10, 30, '"2"') as body:
            assert (body.start, body.total_bytes, body.is_part) == (0, len(CONTENT), False)


async def test_a_whole_file_is_asked_for_without_a_range(sources: Sources) -> None:
    async with serving(Storage(CONTENT)) as storage:
        assert await read(sources.of(storage.url)) == CONTENT
        assert "Range" not in storage.requests[0].headers


async def test_a_part_that_is_not_there_gets_the_whole_file(sources: Sources) -> None:
    async with serving(Storage(b"short")) as storage, sources.of(storage.url).open(100, 200, None) as body:
        assert (body.start, body.total_bytes, body.is_part) == (0, 5, False)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"', "Last-Modified": "yesterday"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "yesterday"}, "yesterday"),
        ({"ETag": 'W/"a"'}, None),
        ({}, None),
    ],
)
async def test_the_validator_is_a_strong_one(sources: Sources, headers: dict[str, str], validator: str | None) -> None:
    async with serving(Storage(CONTENT)) as storage:
        storage.headers = headers
        async with sources.of(storage.url).open(0, 10, None) as body:
            assert body.validator == validator


@pytest.mark.parametrize("etag", ['"é"', '"\u0661"', f'"{"x" * 5000}"'])
async def test_a_validator_that_cannot_be_sent_back_is_none(sources: Sources, tmp_path: Path, etag: str) -> None:
    async with receiver(answering(206, b"x", Content_Range="bytes 0-0/1", ETag=etag)) as host:
        source = sources.of(host.url())
        async with source.open(0, 1, None) as body:
            assert body.validator is None
        assert await fetch(source, tmp_path / "model.part") == b"x"


@pytest.mark.parametrize(
    ("status", "retryable"),
    [*((status, False) for status in (400, 401, 403, 404, 416)), *((status, True) for status in (429, 500, 503))],
)
async def test_what_may_work_later_is_told_apart(sources: Sources, status: int, retryable: bool) -> None:
    async with receiver(answering(status, b"no")) as host:
        failed = await failure(sources.of(host.url("/hook?signature=SECRET")), 5, 10)
    assert failed.retryable == retryable
    assert str(status) in str(failed)
    assert f"127.0.0.1:{host.port}" in str(failed)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (answering(200, b"x", Content_Encoding="gzip"), "Content-Encoding 'gzip'"),
        (answering(206, b"x", Content_Encoding="gzip", Content_Range="bytes 0-0/9"), "Content-Encoding 'gzip'"),
        (answering(206, b"x"), "did not tell which"),
        (answering(206, b"x", Content_Range="bytes */9"), "did not tell which"),
        (answering(206, b"x", Content_Range=f"bytes 0-0/{'9' * 5000}"), "did not tell which"),
        (answering(206, b"x", Content_Type="multipart/byteranges; boundary=x"), "did not tell which"),
    ],
)
async def test_what_is_not_the_file_is_refused(sources: Sources, behave: Behaviour, words: str) -> None:
    async with receiver(behave) as host:
        failed = await failure(sources.of(host.url("/hook?signature=SECRET")), 0, 1)
    assert not failed.retryable
    assert words in str(failed)


@pytest.mark.parametrize("location", ["/hook?signature=SECRET", "http://[there?SECRET", "ftp://there/SECRET"])
async def test_a_redirect_that_leads_nowhere_tells_no_address(sources: Sources, location: str) -> None:
    async with receiver(answering(302, b"", Location=location, Connection="close")) as host:
        await failure(sources.of(host.url("/hook?signature=SECRET")))


async def test_a_broken_connection_may_work_later(sources: Sources) -> None:
    async with receiver(resetting) as host:
        assert (await failure(sources.of(host.url("/hook?signature=SECRET")))).retryable
    assert (await failure(sources.of(host.url("/hook?signature=SECRET")))).retryable, "nobody listens there"
    async with serving(Storage(CONTENT)) as storage:
        storage.breaks.append(1000)
        assert (await failure(sources.of(storage.url))).retryable


async def test_an_error_of_the_disk_stays_one(sources: Sources) -> None:
    async with serving(Storage(CONTENT)) as storage:
        with pytest.raises(OSError, match="No space left") as error:
            async with sources.of(storage.url).open(0, 10, None):
                raise OSError(errno.ENOSPC, "No space left on device")
        assert error.value.errno == errno.ENOSPC


async def test_files_come_in_parallel_parts_over_breaks(sources: Sources, tmp_path: Path) -> None:
    chance = random.Random(4)
    async with serving(Storage(CONTENT)) as storage:
        storage.before = Gate(3)
        assert await fetch(sources.of(storage.url), tmp_path / "gated.part", at_once=3) == CONTENT
        assert storage.most_at_once == 3
        storage.before = None
        storage.breaks.extend(chance.randrange(BLOCK) for _ in range(10))
        assert await fetch(sources.of(storage.url), tmp_path / "broken.part") == CONTENT


def credentials_for(folder: Path, *hosts: Receiver) -> Credentials:
    file = folder / "credentials"
    file.touch(mode=0o600)
    file.write_text("".join(f"{host.url('')} bearer {TOKEN}-{host.port}\n" for host in hosts))
    return Credentials.read(file)


async def test_an_address_gets_the_credentials_of_its_origin_alone(client: GuardedClient, tmp_path: Path) -> None:
    async with receiver(answering()) as other, receiver(answering(302, b"", Location=other.url())) as host:
        credentials = credentials_for(tmp_path, host, other)
        assert await read(AddressSource(client, host.url("/file"), credentials)) == b"ok"
        assert await read(AddressSource(client, other.url("/file"), credentials)) == b"ok"
    assert [seen.headers.get("authorization") for seen in host.requests] == [f"Bearer {TOKEN}-{host.port}"]
    assert [seen.headers.get("authorization") for seen in other.requests] == [None, f"Bearer {TOKEN}-{other.port}"]


async def test_a_refusal_names_the_credentials_and_does_not_show_them(client: GuardedClient, tmp_path: Path) -> None:
    async with receiver(answering(401, b"")) as host:
        failed = await failure(AddressSource(client, host.url(), credentials_for(tmp_path, host)))
    assert host.requests[0].headers["authorization"] == f"Bearer {TOKEN}-{host.port}"
    assert "RUNFLOW_DOWNLOAD_CREDENTIALS" in str(failed)


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/hook", "http://10.0.0.1/hook?x=SECRET"])
async def test_private_addresses_are_not_reached(client: GuardedClient, url: str) -> None:
    async with receiver(answering(302, b"", Location=url)) as host:
        for address in (url, host.url()):
            failed = await failure(AddressSource(client, address, Credentials()))
            assert not failed.retryable
            assert isinstance(failed.__cause__, BlockedAddress)


async def test_a_download_from_an_address_goes_on_where_it_was(client: GuardedClient, tmp_path: Path) -> None:
    """Nothing that has come is lost by a break."""
    async with serving(Storage(CONTENT)) as storage:
        storage.breaks.extend((1000, 2000, BLOCK // 2))
        source = AddressSource(client, storage.url, Credentials())
        assert await fetch(source, tmp_path / "model.part", at_once=1) == CONTENT
        assert [start for start, _ in storage.asked][:4] == [0, 1000, 3000, 3000 + BLOCK // 2]
    assert storage.bytes_sent == len(CONTENT)
