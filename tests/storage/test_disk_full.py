"""A disk that is really full: what is refused, what is left, and that it works again afterwards."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from runflow import errors
from runflow.master_key import MasterKey
from runflow.server import create_app
from runflow.storage.disk import BLOCK_BYTES
from runflow.storage.local import LocalStorage
from runflow.web.services import Services

pytestmark = pytest.mark.chaos

DISK_BYTES = 8 * BLOCK_BYTES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    options = f"size={DISK_BYTES},mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Use up every byte."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


async def test_a_file_that_does_not_fit_leaves_nothing(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk / "storage", master_key)
    with pytest.raises(errors.Unavailable, match=r"storage is full.*free space"):
        await storage.put("runs/r/l/0-big", pieces(2 * DISK_BYTES), limit=4 * DISK_BYTES)
    assert files(small_disk) == set()
    await storage.put("runs/r/l/0-big", pieces(DISK_BYTES // 2), limit=DISK_BYTES)
    assert files(small_disk) == {"storage/runs/r/l/0-big"}


async def test_a_full_disk_over_http(small_disk: Path, services: Services) -> None:
    storage = LocalStorage(small_disk / "storage", services.key)
    app = create_app(dataclasses.replace(services, storage=storage))
    url = storage.upload_url("", "runs/r/l/0-x", content_type="a/b", size_bytes=None, max_bytes=10**9, seconds=60)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        filler = fill(small_disk)
        for size in (0, 100_000, 3 * BLOCK_BYTES):
            answer = await http.put(url, content=bytes(size) or b"x", headers={"Content-Type": "a/b"})
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "UNAVAILABLE"
            assert "storage is full" in answer.json()["message"]
            assert str(small_disk) not in answer.text
            assert answer.headers["Retry-After"]
            assert files(small_disk) == {"filler"}
        with pytest.raises(errors.Unavailable, match="full"):
            await storage.ready()
        filler.unlink()
        await storage.ready()
        answer = await http.put(url, content=bytes(100_000), headers={"Content-Type": "a/b"})
        assert answer.status_code == 200, answer.text
        assert files(small_disk) == {"storage/runs/r/l/0-x"}


async def test_a_full_disk_keeps_the_old_bytes(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk / "storage", master_key)
    await storage.put("a/b", b"old", limit=10)
    fill(small_disk)
    with pytest.raises(errors.Unavailable):
        await storage.put("a/b", b"n" * 100_000, limit=DISK_BYTES)
    assert b"".join([chunk async for chunk in await storage.open("a/b")]) == b"old"


async def test_what_comes_with_a_message_does_not_fit_either(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk / "storage", master_key)
    filler = fill(small_disk)
    content = b"n" * 100_000
    with pytest.raises(errors.Unavailable, match=r"storage is full.*free space"):
        await storage.keep("a/b", content, sha256=hashlib.sha256(content).hexdigest())
    assert files(small_disk) == {"filler"}
    filler.unlink()
    await storage.keep("a/b", content, sha256=hashlib.sha256(content).hexdigest())
    assert await storage.head("a/b") is not None


async def test_storage_may_be_mounted_after_the_start(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk, master_key)
    (small_disk / ".incoming").rmdir()
    await storage.put("a/b", b"x", limit=1)
    assert await storage.head("a/b") is not None


async def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path, master_key: MasterKey) -> None:
    """Needs no privileges: the system refuses files over 2 MiB to this process, as a quota would."""
    storage = LocalStorage(tmp_path / "storage", master_key)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK_BYTES, before[1]))
    try:
        with pytest.raises(errors.Unavailable, match="storage is full") as caught:
            await storage.put("a/b", pieces(4 * BLOCK_BYTES), limit=DISK_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EFBIG
    assert files(tmp_path) == set()
    await storage.put("a/b", pieces(4 * BLOCK_BYTES), limit=DISK_BYTES)


async def test_a_read_only_disk(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk / "storage", master_key)
    await storage.put("a/b", b"x", limit=1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(errors.Unavailable, match=os.strerror(errno.EROFS)):
        await storage.put("a/c", b"x", limit=1)
    with pytest.raises(errors.Unavailable):
        await storage.ready()
    assert b"".join([chunk async for chunk in await storage.open("a/b")]) == b"x"


async def test_the_reserve_is_left_to_the_database(small_disk: Path, master_key: MasterKey) -> None:
    storage = LocalStorage(small_disk / "storage", master_key, reserve_bytes=DISK_BYTES // 2)
    await storage.put("a/b", bytes(BLOCK_BYTES), limit=DISK_BYTES)
    with pytest.raises(errors.Unavailable, match="RUNFLOW_STORAGE_RESERVE_BYTES"):
        await storage.put("a/c", pieces(DISK_BYTES), limit=DISK_BYTES)
    free = os.statvfs(small_disk)
    assert free.f_bavail * free.f_frsize >= DISK_BYTES // 2 - 2 * BLOCK_BYTES, "but for the block on its way"
    assert files(small_disk) == {"storage/a/b"}
    await storage.put("a/c", b"x", limit=1)
