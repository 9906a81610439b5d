import asyncio
import os
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from runflow.storage.disk import BLOCK_BYTES
from runflow.storage.store import Storage

BASE = "http://testserver"
KEY = "runs/r/l/0-pic ture ü.png"


def upload_url(storage: Storage, *, size: int | None = 4, limit: int = 100, seconds: int = 60, key: str = KEY) -> str:
    return storage.upload_url(BASE, key, content_type="image/png", size_bytes=size, max_bytes=limit, seconds=seconds)


def download_url(storage: Storage, *, seconds: int = 60, content_type: str | None = "image/png", key: str = KEY) -> str:
    return storage.download_url(BASE, key, filename="grüße.png", content_type=content_type, seconds=seconds)


async def put(http: httpx.AsyncClient, url: str, content: bytes, content_type: str = "image/png") -> httpx.Response:
    return await http.put(url, content=content, headers={"Content-Type": content_type})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    assert set(answer.json()) == {"code", "message", "errors"}
    assert answer.headers["Runflow-Request-Id"]


async def test_there_and_back_again(http: httpx.AsyncClient, storage: Storage) -> None:
    answer = await put(http, upload_url(storage), b"data")
    assert answer.status_code == 200, answer.text
    assert answer.json()["size_bytes"] == 4
    got = await http.get(download_url(storage))
    assert got.status_code == 200
    assert got.content == b"data"
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Length"] == "4"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["Content-Disposition"].endswith("filename*=UTF-8''gr%C3%BC%C3%9Fe.png")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got.headers["Content-Security-Policy"]


async def test_a_put_may_be_repeated(http: httpx.AsyncClient, storage: Storage) -> None:
    url = upload_url(storage)
    for content in (b"aaaa", b"bbbb"):
        assert (await put(http, url, content)).status_code == 200
    assert (await http.get(download_url(storage))).content == b"bbbb"


async def test_bytes_that_are_called_nothing_else_are_taken(http: httpx.AsyncClient, storage: Storage) -> None:
    """Generated clients send what the OpenAPI document says, whatever the file is."""
    assert (await put(http, upload_url(storage), b"data", "application/octet-stream")).status_code == 200
    assert (await http.get(download_url(storage))).headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("sent", ["image/jpeg", "text/html", "", "image/png, text/html"])
async def test_another_type_than_declared_is_refused(
    http: httpx.AsyncClient, storage: Storage, folder: Path, sent: str
) -> None:
    answer = await put(http, upload_url(storage), b"data", sent)
    assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "`Content-Type: image/png`" in answer.json()["message"]
    assert files(folder) == set()


async def test_the_same_type_in_other_spelling_is_taken(http: httpx.AsyncClient, storage: Storage) -> None:
    assert (await put(http, upload_url(storage), b"data", "IMAGE/PNG")).status_code == 200


async def test_another_size_than_declared_is_refused(http: httpx.AsyncClient, storage: Storage, folder: Path) -> None:
    assert_problem(await put(http, upload_url(storage), b"dat"), 422, "VALIDATION_ERROR")
    assert_problem(await put(http, upload_url(storage), b"data!"), 413, "PAYLOAD_TOO_LARGE")
    assert_problem(await put(http, upload_url(storage, size=None), b"x" * 101), 413, "PAYLOAD_TOO_LARGE")
    assert files(folder) == set()


@pytest.mark.parametrize("size", [None, 1000])
async def test_a_stream_without_a_length_is_cut_off(
    http: httpx.AsyncClient, storage: Storage, folder: Path, size: int | None
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * BLOCK_BYTES:
            sent += 65536
            yield b"x" * 65536

    url = upload_url(storage, size=size, limit=3 * BLOCK_BYTES)
    answer = await http.put(url, content=endless(), headers={"Content-Type": "image/png"})
    assert_problem(answer, 413, "PAYLOAD_TOO_LARGE")
    assert sent <= 4 * BLOCK_BYTES
    assert files(folder) == set()


async def test_the_limit_of_json_bodies_does_not_hold_for_files(http: httpx.AsyncClient, storage: Storage) -> None:
    size = 40 * BLOCK_BYTES
    answer = await put(http, upload_url(storage, size=size, limit=size), bytes(size))
    assert answer.status_code == 200, answer.text
    got = await http.get(download_url(storage))
    assert len(got.content) == size


def with_query(url: str, **changes: str) -> str:
    split = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(split.query)) | changes
    return split._replace(query=urllib.parse.urlencode(query)).geturl()


async def test_a_url_opens_only_what_it_was_made_for(http: httpx.AsyncClient, storage: Storage, folder: Path) -> None:
    up, down = upload_url(storage), download_url(storage)
    refused = [
        await http.get(up),
        await put(http, down, b"data"),
        await put(http, up.replace("/r/l/", "/r/m/"), b"data"),
        await put(http, with_query(up, expires="9999999999"), b"data"),
        await put(http, with_query(up, type="text/html"), b"data", "text/html"),
        await put(http, with_query(up, size="5"), b"data!"),
        await put(http, with_query(up, limit="1000"), b"data"),
        await put(http, with_query(up, signature=""), b"data"),
        await put(http, up.partition("?")[0], b"data"),
        await put(http, upload_url(storage, seconds=-1), b"data"),
        await http.get(download_url(storage, seconds=0)),
        await http.get(with_query(down, type="text/html")),
        await http.get(with_query(down, filename="other.png")),
        await http.get(down.replace("/r/l/", "/r/m/")),
    ]
    for answer in refused:
        assert_problem(answer, 403, "URL_EXPIRED")
    assert files(folder) == set()


@pytest.mark.parametrize(
    "path",
    [
        "../secret.key",
        "..%2fsecret.key",
        "%2e%2e/secret.key",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "runs/..%2f..%2fsecret.key",
        "%2fetc%2fpasswd",
        "..%5c..%5csecret.key",
        "runs/%00",
        "%252e%252e%252fsecret.key",
        "%c0%ae%c0%ae/secret.key",
        ".incoming/x",
    ],
)
async def test_there_is_no_way_out_of_storage(
    http: httpx.AsyncClient, storage: Storage, folder: Path, path: str
) -> None:
    (folder.parent / "secret.key").write_text("secret")
    query = urllib.parse.urlsplit(download_url(storage)).query
    # A transport that leaves the path alone: clients tidy up what an attacker would not.
    raw = f"/v1/storage/{path}?{query}".encode()
    url = httpx.URL(scheme="http", host="testserver", raw_path=raw)
    answer = await http.get(url)
    assert answer.status_code in (403, 404), answer.text
    assert "secret" not in answer.text
    answer = await http.put(url, content=b"x", headers={"Content-Type": "image/png"})
    assert answer.status_code in (403, 404, 405), answer.text
    assert (folder.parent / "secret.key").read_text() == "secret"
    assert files(folder) == set()


async def test_ranges(http: httpx.AsyncClient, storage: Storage) -> None:
    data = os.urandom(3 * BLOCK_BYTES)
    await storage.put(KEY, data, limit=len(data))
    url = download_url(storage)

    async def part(header: str, **more: str) -> httpx.Response:
        return await http.get(url, headers={"Range": header, **more})

    for header, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=-5", len(data) - 5, len(data)),
        (f"bytes=7-{2 * BLOCK_BYTES}", 7, 2 * BLOCK_BYTES + 1),
        ("bytes=100-", 100, len(data)),
    ):
        answer = await part(header)
        assert answer.status_code == 206
        assert answer.content == data[start:end]
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(data)}"
        assert answer.headers["Content-Length"] == str(end - start)
    beyond = await part(f"bytes={len(data)}-")
    assert_problem(beyond, 416, "RANGE_NOT_SATISFIABLE")
    assert beyond.headers["Content-Range"] == f"bytes */{len(data)}"
    assert (await part("bytes=0-1,4-5")).status_code == 200
    etag = (await part("bytes=0-9")).headers["ETag"]
    assert (await part("bytes=0-9", **{"If-Range": etag})).status_code == 206
    assert (await part("bytes=0-9", **{"If-Range": '"other"'})).status_code == 200


async def test_an_unchanged_file_is_not_sent_again(http: httpx.AsyncClient, storage: Storage) -> None:
    await storage.put(KEY, b"data", limit=4)
    url = download_url(storage)
    etag = (await http.get(url)).headers["ETag"]
    again = await http.get(url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await storage.put(KEY, b"other", limit=5)
    assert (await http.get(url, headers={"If-None-Match": etag})).status_code == 200


async def test_head_describes_without_a_body(http: httpx.AsyncClient, storage: Storage) -> None:
    await storage.put(KEY, b"data", limit=4)
    answer = await http.head(download_url(storage))
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "4")


async def test_a_file_that_is_gone_is_a_404(http: httpx.AsyncClient, storage: Storage) -> None:
    assert_problem(await http.get(download_url(storage)), 404, "NOT_FOUND")


async def test_an_empty_file(http: httpx.AsyncClient, storage: Storage) -> None:
    assert (await put(http, upload_url(storage, size=0), b"")).status_code == 200
    got = await http.get(download_url(storage))
    assert (got.status_code, got.content) == (200, b"")


async def test_a_client_that_goes_away_leaves_nothing(storage: Storage, folder: Path, http: httpx.AsyncClient) -> None:
    """The body ends in a disconnect, as a server reports it."""
    app = http._transport.app  # type: ignore[attr-defined]
    split = urllib.parse.urlsplit(upload_url(storage, size=None, limit=10 * BLOCK_BYTES))
    messages: Iterator[dict[str, object]] = iter(
        [
            {"type": "http.request", "body": b"x" * (2 * BLOCK_BYTES), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": urllib.parse.unquote(split.path),
        "raw_path": split.path.encode(),
        "query_string": split.query.encode(),
        "headers": [(b"content-type", b"image/png"), (b"host", b"testserver")],
        "scheme": "http",
        "server": ("testserver", 80),
        "http_version": "1.1",
    }
    async with asyncio.timeout(60):
        await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert files(folder) == set()


async def test_browsers_of_other_pages_may_upload(http: httpx.AsyncClient, storage: Storage) -> None:
    url = upload_url(storage)
    preflight = await http.options(
        url,
        headers={
            "Origin": "http://127.0.0.1:8188",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert preflight.status_code == 200
    answer = await http.put(
        url, content=b"data", headers={"Content-Type": "image/png", "Origin": "http://127.0.0.1:8188"}
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
