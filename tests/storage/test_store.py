import asyncio
import errno
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from runflow import errors
from runflow.master_key import MasterKey
from runflow.storage.disk import ABANDONED_SECONDS, BLOCK_BYTES, INCOMING
from runflow.storage.keys import InvalidKey
from runflow.storage.local import LocalStorage
from runflow.storage.store import Storage
from tests.support.waiting import until

KEY = "runs/r/l/0-x.bin"


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(storage: Storage, key: str, start: int | None = None, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in await storage.open(key, start, end)])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 1, 100_000, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7])
async def test_what_is_put_is_read_back(storage: Storage, folder: Path, size: int) -> None:
    data = os.urandom(size)
    pieces = [data[at : at + 64_000] for at in range(0, size, 64_000)]
    stored = await storage.put(KEY, chunks(*pieces), limit=size, size_bytes=size)
    assert (stored.key, stored.size_bytes, stored.sha256) == (KEY, size, hashlib.sha256(data).hexdigest())
    assert await content(storage, KEY) == data
    head = await storage.head(KEY)
    assert head is not None and head.size_bytes == size
    assert files(folder) == {KEY}


async def test_a_file_in_tiny_pieces(storage: Storage) -> None:
    async def tiny() -> AsyncIterator[bytes]:
        for number in range(10_000):
            yield bytes([number % 256])

    await storage.put(KEY, tiny(), limit=10_000)
    assert await content(storage, KEY) == bytes(number % 256 for number in range(10_000))


async def test_bytes_can_be_put_in_one_piece(storage: Storage) -> None:
    await storage.put(KEY, b"hello", limit=5)
    assert await content(storage, KEY) == b"hello"


async def test_a_part_is_read(storage: Storage) -> None:
    data = os.urandom(3 * BLOCK_BYTES)
    await storage.put(KEY, data, limit=len(data))
    assert await content(storage, KEY, 10, 20) == data[10:20]
    assert await content(storage, KEY, 5) == data[5:]
    assert await content(storage, KEY, 7, 2 * BLOCK_BYTES) == data[7 : 2 * BLOCK_BYTES]


async def test_only_the_servers_user_can_read_files(storage: Storage, folder: Path) -> None:
    await storage.put(KEY, b"x", limit=1)
    for path in (folder, folder / KEY):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("size", [11, 3 * BLOCK_BYTES])
async def test_too_much_is_refused_and_nothing_is_left(storage: Storage, folder: Path, size: int) -> None:
    with pytest.raises(errors.PayloadTooLarge):
        await storage.put(KEY, chunks(*[b"x" * 1000] * (size // 1000 + 1)), limit=size - 1)
    assert files(folder) == set()
    assert await storage.head(KEY) is None


async def test_more_or_less_than_declared_is_refused_and_nothing_is_left(storage: Storage, folder: Path) -> None:
    with pytest.raises(errors.ValidationFailed, match="9 bytes, but 10 were declared"):
        await storage.put(KEY, b"x" * 9, limit=100, size_bytes=10)
    with pytest.raises(errors.PayloadTooLarge):
        await storage.put(KEY, b"x" * 11, limit=100, size_bytes=10)
    assert files(folder) == set()


async def test_a_failed_put_leaves_the_old_bytes(storage: Storage, folder: Path) -> None:
    await storage.put(KEY, b"old", limit=10)

    async def broken() -> AsyncIterator[bytes]:
        yield b"n" * (2 * BLOCK_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await storage.put(KEY, broken(), limit=10 * BLOCK_BYTES)
    assert await content(storage, KEY) == b"old"
    assert files(folder) == {KEY}


async def test_a_put_replaces_the_bytes(storage: Storage, folder: Path) -> None:
    await storage.put(KEY, b"old and longer", limit=100)
    before = await storage.head(KEY)
    await storage.put(KEY, b"new", limit=100)
    after = await storage.head(KEY)
    assert await content(storage, KEY) == b"new"
    assert before is not None and after is not None and before.etag != after.etag
    assert files(folder) == {KEY}


async def test_a_cancelled_put_leaves_nothing(storage: Storage, folder: Path) -> None:
    started, never = asyncio.Event(), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x" * (2 * BLOCK_BYTES)
        started.set()
        await never.wait()

    task = asyncio.create_task(storage.put(KEY, stalling(), limit=10 * BLOCK_BYTES))
    await started.wait()
    assert len(files(folder)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not files(folder))


async def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(storage: Storage, folder: Path) -> None:
    async def again(name: str) -> None:
        for _ in range(50):
            await storage.put(f"runs/r/l/{name}", b"x", limit=1, settle=False)
            await storage.delete([f"runs/r/l/{name}"])

    await asyncio.gather(*(again(name) for name in "abcd"))
    assert files(folder) == set()
    assert not (folder / "runs").exists()


async def test_head_waits_until_the_object_is_on_the_disk(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, began, release = [], threading.Event(), threading.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        began.set()
        release.wait(60)
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    await storage.put(KEY, b"x", limit=1, settle=False)
    assert await storage.stat(KEY) is not None
    asking = asyncio.create_task(storage.head(KEY))
    await until(began.is_set)
    assert not asking.done()
    release.set()
    assert await asking is not None
    places = [folder / KEY, *(folder / KEY).parents[:4]]
    assert {place.stat().st_ino for place in places} <= set(synced)
    assert places[-1] == folder


async def test_head_brings_to_the_disk_what_another_process_stored(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    await storage.put(KEY, b"x", limit=1)
    inode = (folder / KEY).stat().st_ino
    monkeypatch.setattr(os, "fsync", noted)
    assert await storage.head(KEY) is not None
    assert inode not in synced
    other = LocalStorage(folder, MasterKey("another-key-of-32-characters-----"))
    assert await other.head(KEY) is not None
    assert inode in synced


async def test_bytes_that_the_disk_did_not_take_are_removed(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(errors.Unavailable, match="Input/output error"):
            await storage.put(KEY, b"x", limit=1)
    assert files(folder) == set()
    await storage.put(KEY, b"x", limit=1)
    assert await storage.head(KEY) is not None


async def test_a_copy_does_not_follow_its_source(storage: Storage) -> None:
    await storage.put("uploads/u/x", b"one", limit=3)
    await storage.copy("uploads/u/x", "assets/a/x")
    await storage.put("uploads/u/x", b"two", limit=3)
    assert await content(storage, "assets/a/x") == b"one"
    await storage.delete(["uploads/u/x"])
    assert await content(storage, "assets/a/x") == b"one"
    with pytest.raises(errors.NotFound):
        await storage.copy("uploads/u/x", "assets/b/x")


async def test_a_copy_works_without_hard_links(storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    data = os.urandom(3 * BLOCK_BYTES)
    await storage.put("uploads/u/x", data, limit=len(data))
    await storage.copy("uploads/u/x", "assets/a/x")
    assert await content(storage, "assets/a/x") == data
    assert files(folder) == {"uploads/u/x", "assets/a/x"}


async def test_listing_and_deleting(storage: Storage, folder: Path) -> None:
    for key in ("runs/r/l/0-a", "runs/r/l/1-b", "runs/r/m/0-a", "runs/rr/l/0-a"):
        await storage.put(key, b"x", limit=1)
    assert {key async for key in storage.list("runs/r/l/")} == {"runs/r/l/0-a", "runs/r/l/1-b"}
    assert {key async for key in storage.list("runs/r")} == {"runs/r/l/0-a", "runs/r/l/1-b", "runs/r/m/0-a"}
    assert [key async for key in storage.list("nothing")] == []
    await storage.delete(["runs/r/l/0-a", "runs/r/l/none", "runs/r/m/0-a"])
    assert files(folder) == {"runs/r/l/1-b", "runs/rr/l/0-a"}


async def test_listing_by_age(storage: Storage, folder: Path) -> None:
    await storage.put("uploads/a/x", b"x", limit=1)
    await storage.put("uploads/b/x", b"x", limit=1)
    os.utime(folder / "uploads/a/x", (0, 0))
    before = datetime.now(UTC) - timedelta(hours=1)
    assert [key async for key in storage.list("uploads", before=before)] == ["uploads/a/x"]


async def test_what_is_not_there(storage: Storage) -> None:
    await storage.put(KEY, b"x", limit=1)
    for key in ("runs/none", "runs/r", KEY + "/below", "../secret.key", "runs/../x"):
        assert await storage.head(key) is None, key
        assert await storage.stat(key) is None, key
    with pytest.raises(errors.NotFound):
        await storage.open("runs/none")
    with pytest.raises(errors.NotFound):
        await storage.open("runs/none", 0, 10 * BLOCK_BYTES)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", ".incoming/x", "a\x00b"])
async def test_no_way_out_of_the_folder(storage: Storage, key: str) -> None:
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


async def test_files_of_killed_processes_are_swept(storage: Storage, folder: Path) -> None:
    dead, alive = folder / ".incoming/dead", folder / ".incoming/alive"
    dead.write_bytes(b"x")
    alive.write_bytes(b"x")
    old = datetime.now().timestamp() - ABANDONED_SECONDS - 1
    os.utime(dead, (old, old))
    assert await storage.sweep_abandoned() == 1
    assert not dead.exists() and alive.exists()


async def test_readiness_means_that_files_can_be_written(storage: Storage, folder: Path) -> None:
    await storage.ready()
    assert files(folder) == set()
    for path in (folder / ".incoming", folder):
        path.rmdir()
    folder.write_text("no folder any more")
    with pytest.raises(errors.Unavailable):
        await storage.ready()


async def test_memory_stays_flat(storage: Storage) -> None:
    size, piece = 200 * 1024 * 1024, os.urandom(256 * 1024)
    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0

    async def long() -> AsyncIterator[bytes]:
        nonlocal peak
        for _ in range(size // len(piece)):
            peak = max(peak, process.memory_info().rss)
            yield piece

    stored = await storage.put(KEY, long(), limit=size, settle=False)
    assert stored.size_bytes == size
    assert peak - before < 30 * 1024 * 1024
    read = 0
    async for chunk in await storage.open(KEY):
        read += len(chunk)
        peak = max(peak, process.memory_info().rss)
    assert read == size
    assert peak - before < 60 * 1024 * 1024


def test_a_refusal_names_what_the_limit_is(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.limit_source(100, "RUNFLOW_MAX_UPLOAD_BYTES") == "RUNFLOW_MAX_UPLOAD_BYTES"
    monkeypatch.setattr(storage, "max_object_bytes", 10)
    assert storage.limit_source(10, "RUNFLOW_MAX_UPLOAD_BYTES") == "RUNFLOW_MAX_UPLOAD_BYTES"
    assert "bucket" in storage.limit_source(11, "RUNFLOW_MAX_UPLOAD_BYTES")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
async def test_what_is_kept_stays(storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "this file system has no hard links")

        monkeypatch.setattr(os, "link", refuse)
    assert storage.takes_content
    await storage.keep(KEY, b"first", sha256=sha256(b"first"))
    await storage.keep(KEY, b"first", sha256=sha256(b"first"))
    with pytest.raises(errors.Conflict, match="Other bytes are stored"):
        await storage.keep(KEY, b"other", sha256=sha256(b"other"))
    with pytest.raises(errors.ValidationFailed, match="has the SHA-256"):
        await storage.keep(f"{KEY}-2", b"damaged", sha256=sha256(b"first"))
    assert await content(storage, KEY) == b"first"
    assert await storage.head(f"{KEY}-2") is None
    assert list((folder / INCOMING).iterdir()) == []


async def test_of_many_that_keep_under_one_key_one_wins(storage: Storage) -> None:
    kept = await asyncio.gather(
        *(storage.keep(KEY, text := b"%d" % number, sha256=sha256(text)) for number in range(20)),
        return_exceptions=True,
    )
    winners = [number for number, problem in enumerate(kept) if problem is None]
    assert len(winners) == 1 and await content(storage, KEY) == b"%d" % winners[0]
    assert all(isinstance(problem, errors.Conflict) for problem in kept if problem is not None)
