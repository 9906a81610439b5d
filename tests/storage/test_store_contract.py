"""What every storage does, on the local disk, in a bucket of moto's server, and in a real bucket where one is named."""

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

from runflow import errors
from runflow.master_key import MasterKey
from runflow.server import create_app
from runflow.settings import Settings
from runflow.storage.choice import open_storage
from runflow.storage.keys import InvalidKey
from runflow.storage.s3 import PART_BYTES
from runflow.storage.store import Storage
from runflow.web.services import Services
from tests.support.s3_fixtures import REAL, moto_settings, real_settings

KEY = "runs/r/l/0-x.bin"
STRANGE = ["runs/r/l/0-pic ture ü.png", "a/t~x", "a/{x}", "a/[x]^`", "a/q'(x)!", "a/p+l&=;,@$", "a/%41", "a/日本.png"]


@pytest.fixture(params=["local", "s3", *(["real"] if REAL else [])])
async def storage(request: pytest.FixtureRequest, tmp_path: Path, master_key: MasterKey) -> AsyncIterator[Storage]:
    values = {}
    if request.param == "s3":
        values = moto_settings(request.getfixturevalue("s3_endpoint"))
    elif request.param == "real":
        values = real_settings()
    opened = await open_storage(Settings(home=tmp_path, **values), master_key)
    yield opened
    if request.param == "real":
        for place in ("runs", "a", "b", "uploads", "assets"):
            await opened.delete([key async for key in opened.list(place)])
    await opened.close()


@pytest.fixture
async def http(services: Services, storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which reaches this server's own URLs in this process, and others over the network."""
    app = create_app(dataclasses.replace(services, storage=storage))
    mounts = {"http://testserver": httpx.ASGITransport(app, raise_app_exceptions=False)}
    async with httpx.AsyncClient(mounts=mounts) as client:
        yield client


async def chunks(data: bytes, size: int = 64_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def content(storage: Storage, key: str, start: int | None = None, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in await storage.open(key, start, end)])


async def everything(storage: Storage) -> set[str]:
    return {key for place in ("runs", "a", "b") async for key in storage.list(place)}


@pytest.mark.parametrize("size", [0, 1, 100_000, PART_BYTES, 2 * PART_BYTES + 7])
async def test_what_is_put_is_read_back(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    stored = await storage.put(KEY, chunks(data), limit=size, size_bytes=size, content_type="image/png")
    assert (stored.key, stored.size_bytes, stored.sha256) == (KEY, size, hashlib.sha256(data).hexdigest())
    assert await content(storage, KEY) == data
    head = await storage.head(KEY)
    assert head is not None and (head.key, head.size_bytes) == (KEY, size)
    assert head.etag is not None and head.content_type in (None, "image/png")
    assert head.modified_at is not None and abs(datetime.now(UTC) - head.modified_at) < timedelta(minutes=5)


@pytest.mark.parametrize("key", STRANGE)
async def test_names_as_people_give_them(storage: Storage, http: httpx.AsyncClient, key: str) -> None:
    await storage.put(key, b"data", limit=4)
    assert await content(storage, key) == b"data"
    assert await everything(storage) == {key}
    url = storage.download_url("http://testserver", key, filename="x.png", content_type="image/png", seconds=60)
    assert (await http.get(url)).content == b"data"
    await storage.copy(key, "b/copy")
    await storage.delete([key])
    assert await everything(storage) == {"b/copy"}


async def test_a_part_is_read(storage: Storage) -> None:
    data = os.urandom(300_000)
    await storage.put(KEY, data, limit=len(data))
    assert await content(storage, KEY, 10, 20) == data[10:20]
    assert await content(storage, KEY, 5) == data[5:]
    assert await content(storage, KEY, 7, 200_000) == data[7:200_000]
    assert await content(storage, KEY, 7, 7) == b""


async def test_other_sizes_than_allowed_leave_nothing(storage: Storage) -> None:
    for data in (b"x" * 1000, b"x" * (PART_BYTES + 1000)):
        with pytest.raises(errors.PayloadTooLarge):
            await storage.put(KEY, chunks(data), limit=len(data) - 1)
        with pytest.raises(errors.PayloadTooLarge):
            await storage.put(KEY, chunks(data), limit=10**9, size_bytes=len(data) - 1)
        with pytest.raises(errors.ValidationFailed, match="were declared"):
            await storage.put(KEY, chunks(data), limit=10**9, size_bytes=len(data) + 1)
    assert await everything(storage) == set()


async def test_a_failed_put_leaves_the_old_bytes(storage: Storage) -> None:
    await storage.put(KEY, b"old", limit=10)

    async def broken() -> AsyncIterator[bytes]:
        yield b"n" * (2 * PART_BYTES)
        raise ConnectionResetError

    with pytest.raises((ConnectionResetError, errors.Unavailable)):
        await storage.put(KEY, broken(), limit=10 * PART_BYTES)
    assert await content(storage, KEY) == b"old"


async def test_a_put_replaces_the_bytes(storage: Storage) -> None:
    await storage.put(KEY, b"old and longer", limit=100)
    before = await storage.head(KEY)
    await storage.put(KEY, b"new", limit=100)
    after = await storage.head(KEY)
    assert await content(storage, KEY) == b"new"
    assert before is not None and after is not None and before.etag != after.etag


async def test_a_copy_stays_when_the_first_changes(storage: Storage) -> None:
    await storage.put("a/x", b"one", limit=3)
    await storage.copy("a/x", "b/x")
    await storage.put("a/x", b"two", limit=3)
    assert await content(storage, "b/x") == b"one"
    await storage.delete(["a/x"])
    assert await content(storage, "b/x") == b"one"
    with pytest.raises(errors.NotFound):
        await storage.copy("a/x", "b/y")


async def test_listing_and_deleting(storage: Storage) -> None:
    for key in ("runs/r/l/0-a", "runs/r/l/1-b", "runs/r/m/0-a", "runs/rr/l/0-a"):
        await storage.put(key, b"x", limit=1)
    assert {key async for key in storage.list("runs/r/l/")} == {"runs/r/l/0-a", "runs/r/l/1-b"}
    assert {key async for key in storage.list("runs/r")} == {"runs/r/l/0-a", "runs/r/l/1-b", "runs/r/m/0-a"}
    assert [key async for key in storage.list("nothing")] == []
    now = datetime.now(UTC)
    assert [key async for key in storage.list("runs", before=now - timedelta(hours=1))] == []
    assert len([key async for key in storage.list("runs", before=now + timedelta(hours=1))]) == 4
    await storage.delete(["runs/r/l/0-a", "runs/r/l/none", "runs/r/m/0-a"])
    assert await everything(storage) == {"runs/r/l/1-b", "runs/rr/l/0-a"}
    await storage.delete([])


async def test_what_is_not_there(storage: Storage) -> None:
    for key in ("runs/none", "../secret.key", "runs/../x"):
        assert await storage.head(key) is None, key
        assert await storage.stat(key) is None, key
    for end in (None, 5):
        with pytest.raises(errors.NotFound):
            await content(storage, "runs/none", 0, end)
    with pytest.raises(errors.NotFound):
        await storage.examine("runs/none", lambda file: None)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", ".incoming/x", "a\x00b"])
async def test_no_way_out(storage: Storage, key: str) -> None:
    with pytest.raises(InvalidKey):
        await storage.put(key, b"x", limit=1)
    with pytest.raises(InvalidKey):
        await storage.open(key)
    with pytest.raises(InvalidKey):
        await storage.delete([key])
    with pytest.raises(InvalidKey):
        await storage.copy(key, "a/b")
    with pytest.raises(InvalidKey):
        storage.download_url("", key, filename=None, content_type=None, seconds=1)
    with pytest.raises(InvalidKey):
        storage.upload_url("", key, content_type="a/b", size_bytes=1, max_bytes=1, seconds=1)


async def test_an_object_can_be_examined_as_a_file(storage: Storage) -> None:
    await storage.put(KEY, b"0123456789", limit=10)

    def look(file: BinaryIO) -> bytes:
        file.seek(5)
        rest = file.read()
        file.seek(0)
        return file.read(2) + rest

    assert await storage.examine(KEY, look) == b"0156789"


async def test_it_is_ready(storage: Storage) -> None:
    await storage.ready()
    await storage.check()
    assert await everything(storage) == set()


async def test_a_signed_upload_and_download(storage: Storage, http: httpx.AsyncClient) -> None:
    up = storage.upload_url("http://testserver", KEY, content_type="image/png", size_bytes=4, max_bytes=100, seconds=60)
    for data in (b"aaaa", b"data"):  # a PUT may be repeated
        answer = await http.put(up, content=data, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, answer.text
    down = storage.download_url(
        "http://testserver", KEY, filename='grüße "x".png', content_type="image/png", seconds=60
    )
    got = await http.get(down)
    assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, b"data", "image/png")
    assert got.headers["Content-Disposition"].startswith('inline; filename="gr__e _x_.png"')
    assert got.headers["Content-Disposition"].endswith("filename*=UTF-8''gr%C3%BC%C3%9Fe%20%22x%22.png")
    part = await http.get(down, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"at", "bytes 1-2/4")
    assert (await http.get(down, headers={"Range": "bytes=-1"})).content == b"a"


async def test_a_file_that_a_browser_would_run_is_a_download(storage: Storage, http: httpx.AsyncClient) -> None:
    await storage.put(KEY, b"<script>", limit=100)
    for content_type in ("text/html", "image/svg+xml", "nonsense\n"):
        url = storage.download_url("http://testserver", KEY, filename="x", content_type=content_type, seconds=60)
        assert (await http.get(url)).headers["Content-Disposition"].startswith("attachment;")


async def test_an_upload_url_holds_the_sender_to_type_and_size(storage: Storage, http: httpx.AsyncClient) -> None:
    url = storage.upload_url(
        "http://testserver", KEY, content_type="image/png", size_bytes=4, max_bytes=100, seconds=60
    )
    for data, content_type in ((b"data", "text/html"), (b"dat", "image/png"), (b"data!", "image/png")):
        answer = await http.put(url, content=data, headers={"Content-Type": content_type})
        assert answer.status_code in (403, 413, 415, 422), answer.text
    assert await storage.head(KEY) is None


async def test_a_url_opens_only_what_it_was_made_for(storage: Storage, http: httpx.AsyncClient) -> None:
    await storage.put(KEY, b"data", limit=4)
    await storage.put("runs/r/l/1-y", b"other", limit=5)
    down = storage.download_url("http://testserver", KEY, filename="a.png", content_type="image/png", seconds=60)
    up = storage.upload_url("http://testserver", KEY, content_type="a/b", size_bytes=1, max_bytes=1, seconds=60)
    refused = [
        await http.get(down.replace("0-x.bin", "1-y")),
        await http.get(down.replace("image%2Fpng", "text%2Fhtml")),
        await http.get(down.replace("a.png", "b.png")),
        await http.get(down.partition("?")[0]),
        await http.get(up),
        await http.put(down, content=b"x", headers={"Content-Type": "a/b"}),
        await http.put(up.replace("0-x.bin", "1-y"), content=b"x", headers={"Content-Type": "a/b"}),
        await http.delete(up),
    ]
    assert {answer.status_code for answer in refused} <= {403, 405}
    assert await content(storage, KEY) == b"data"
    assert await content(storage, "runs/r/l/1-y") == b"other"


async def test_a_url_expires(storage: Storage, http: httpx.AsyncClient) -> None:
    await storage.put(KEY, b"data", limit=4)
    url = storage.download_url("http://testserver", KEY, filename=None, content_type=None, seconds=1)
    async with asyncio.timeout(60):
        while (await http.get(url)).status_code != 403:
            await asyncio.sleep(0.1)


async def test_urls_of_the_local_disk_stay_good_after_a_move(
    storage: Storage, http: httpx.AsyncClient, tmp_path: Path, master_key: MasterKey
) -> None:
    before = await open_storage(Settings(home=tmp_path / "before"), master_key)
    url = before.download_url("http://testserver", KEY, filename="a.png", content_type="image/png", seconds=60)
    await storage.put(KEY, b"moved", limit=5)
    got = await http.get(url)
    assert (got.status_code, got.content) == (200, b"moved")


@pytest.mark.skipif(not REAL, reason="no real bucket: set RUNFLOW_TEST_S3_URL (tests/support/s3_fixtures.py)")
def test_a_real_bucket_takes_part() -> None:
    """The tests above run against it as well; without one, only this line says so."""
    assert REAL
