import asyncio
import hashlib
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest

from plugin.autosetup import download as module
from plugin.autosetup.download import DownloadFailed, download, existing_part, inspect_file
from plugin.autosetup.fetch import Fetcher, FetchFailed
from plugin.autosetup.lines import ModelLine
from plugin.autosetup.safe_paths import PathRefused
from plugin.cancellation import Cancelled
from tests.support.autosetup_hosts import Host, Served, safetensors

SIZE = 1_500_000
CONTENT = safetensors(SIZE)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models/loras"
    made.mkdir(parents=True)
    return made


def line(host: Host, folder: Path, **fields: Any) -> ModelLine:
    relative = PurePosixPath("sub/a.safetensors")
    made = ModelLine("0" * 16, "loras", "loras/sub/a.safetensors", f"{host.url}/a", folder, relative)
    return replace(made, **fields)


async def get(
    wanted: ModelLine, fetcher: Fetcher, cancelled: threading.Event | None = None
) -> list[tuple[str, int, int]]:
    told: list[tuple[str, int, int]] = []
    await download(wanted, fetcher, cancelled or threading.Event(), lambda *each: told.append(each))
    return told


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_a_file_is_checked_and_put_into_place(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/a"] = Served(CONTENT)
    told = await get(line(host, folder, sha256=SHA256, size_bytes=SIZE), fetcher)
    assert (folder / "sub/a.safetensors").read_bytes() == CONTENT
    assert left(folder) == ["sub/a.safetensors"]
    assert ("Downloading", SIZE, SIZE) in told
    assert told[-1] == ("Checking", SIZE, SIZE)


@pytest.mark.parametrize("sha256", [SHA256, None])
async def test_a_broken_connection_is_taken_up_where_it_broke(
    sha256: str | None, host: Host, fetcher: Fetcher, folder: Path
) -> None:
    host.files["/a"] = Served(CONTENT, breaks_at=[400_000, 900_000])
    await get(line(host, folder, sha256=sha256, size_bytes=SIZE), fetcher)
    assert (folder / "sub/a.safetensors").read_bytes() == CONTENT
    begins = [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for _, _, asked in host.asked]
    assert begins == sorted(begins)
    assert begins[0] == 0 < begins[1] < begins[2]


async def test_what_a_failed_try_left_is_taken_up_by_the_next(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/a"] = Served(CONTENT, breaks_at=[700_000, 1, 1, 1, 1, 1, 1, 1])
    wanted = line(host, folder, sha256=SHA256)
    with pytest.raises(FetchFailed):
        await get(wanted, fetcher)
    kept = existing_part(wanted)
    assert 0 < kept <= 700_000
    assert not (folder / "sub/a.safetensors").exists()
    host.files["/a"].breaks_at.clear()
    host.asked.clear()
    await get(wanted, fetcher)
    assert host.asked == [("GET", "/a", f"bytes={kept}-")]
    assert left(folder) == ["sub/a.safetensors"]


async def test_a_file_that_changed_at_its_host_is_begun_anew(host: Host, fetcher: Fetcher, folder: Path) -> None:
    other = safetensors(SIZE, b"other")
    host.files["/a"] = Served(CONTENT, breaks_at=[700_000, 1, 1, 1, 1, 1, 1, 1])
    wanted = line(host, folder)
    with pytest.raises(FetchFailed):
        await get(wanted, fetcher)
    host.files["/a"] = Served(other, etag='"two"')
    await get(wanted, fetcher)
    assert (folder / "sub/a.safetensors").read_bytes() == other


async def test_a_host_without_ranges_sends_all_of_it_again(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/a"] = Served(CONTENT, etag=None, ranges=False, breaks_at=[700_000])
    await get(line(host, folder, sha256=SHA256), fetcher)
    assert (folder / "sub/a.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("served", "fields", "message"),
    [
        (Served(CONTENT), {"sha256": "0" * 64}, "SHA-256"),
        (Served(CONTENT), {"size_bytes": SIZE - 1}, "instead of"),
        (Served(CONTENT[:-1]), {"size_bytes": SIZE}, "instead of"),
        (Served(b"not what it says"), {}, "no safetensors"),
        (Served(b"\xff" * 100), {}, "no safetensors"),
        (Served(b""), {}, "empty file"),
        (Served(CONTENT[:-1]), {}, "not all of one"),
        (
            Served(b"\x80\x04cos\nsystem"),
            {"sha256": hashlib.sha256(b"\x80\x04cos\nsystem").hexdigest()},
            "no safetensors",
        ),
        (Served((7).to_bytes(8, "little") + b'{"a":1}'), {}, "no safetensors"),
        (Served(b"nope"), {"relative": PurePosixPath("a.gguf")}, "no GGUF"),
    ],
)
async def test_a_wrong_file_leaves_nothing(
    served: Served, fields: dict[str, Any], message: str, host: Host, fetcher: Fetcher, folder: Path
) -> None:
    host.files["/a"] = served
    with pytest.raises(DownloadFailed, match=message):
        await get(line(host, folder, **fields), fetcher)
    assert left(folder) == []


async def test_a_web_page_is_no_model(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/a"] = Served(b"<html>", content_type="text/html")
    with pytest.raises(FetchFailed, match="web page"):
        await inspect_file(f"{host.url}/a", fetcher)
    with pytest.raises(FetchFailed, match="web page"):
        await get(line(host, folder), fetcher)
    assert left(folder) == []


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
async def test_nothing_is_overwritten_even_what_came_meanwhile(
    host: Host, fetcher: Fetcher, folder: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError("this file system has no links")))
    host.files["/a"] = Served(CONTENT, pause=0.02)
    place = folder / "sub/a.safetensors"
    work = asyncio.ensure_future(get(line(host, folder), fetcher))
    while not existing_part(line(host, folder)):
        await asyncio.sleep(0.01)
    place.write_bytes(b"mine")
    with pytest.raises(PathRefused, match="overwritten"):
        await work
    assert place.read_bytes() == b"mine"
    assert left(folder) == ["sub/a.safetensors"]
    with pytest.raises(PathRefused):
        await get(line(host, folder), fetcher)


async def test_a_compressed_answer_is_no_model(host: Host, fetcher: Fetcher, folder: Path) -> None:
    host.files["/a"] = Served(CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchFailed, match="compressed"):
        await inspect_file(f"{host.url}/a", fetcher)
    with pytest.raises(FetchFailed, match="compressed"):
        await get(line(host, folder), fetcher)
    host.files["/a"] = Served(b"")
    with pytest.raises(FetchFailed, match="empty"):
        await inspect_file(f"{host.url}/a", fetcher)


@pytest.mark.parametrize("stalls", [False, True])
async def test_cancel_leaves_nothing(stalls: bool, host: Host, fetcher: Fetcher, folder: Path) -> None:
    """Also while the host stalls: nobody waits for it."""
    served = host.files["/a"] = Served(CONTENT, pause=0.05, stalls=asyncio.Event() if stalls else None)
    cancelled = threading.Event()
    async with asyncio.timeout(60):
        work = asyncio.ensure_future(get(line(host, folder), fetcher, cancelled))
        while not (host.asked if stalls else existing_part(line(host, folder))):
            await asyncio.sleep(0.01)
        cancelled.set()
        with pytest.raises(Cancelled):
            await work
    if served.stalls is not None:
        served.stalls.set()
    assert left(folder) == []


async def test_a_full_disk_is_noticed_before_it_is_full(
    host: Host, fetcher: Fetcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    host.files["/a"] = Served(CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(1 << 40, 1 << 40, 257 << 20))
    with pytest.raises(DownloadFailed, match="disk is full"):
        await get(line(host, folder), fetcher)
    assert left(folder) == []


async def test_a_file_of_an_allowed_folder_is_copied(
    host: Host, fetcher: Fetcher, folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "repositories/a.safetensors"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    assert await inspect_file(source.as_uri(), fetcher) == SIZE
    await get(line(host, folder, url=source.as_uri(), sha256=SHA256), fetcher)
    assert (folder / "sub/a.safetensors").read_bytes() == CONTENT
    assert source.read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
async def test_the_size_is_known_before(ranges: bool, host: Host, fetcher: Fetcher) -> None:
    host.files["/a"] = Served(CONTENT, ranges=ranges)
    assert await inspect_file(f"{host.url}/a", fetcher) == SIZE
