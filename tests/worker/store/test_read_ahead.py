"""What is in memory of a file, before and after it was read ahead. The files are sparse: nothing of them is cached."""

import asyncio
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from runflow.worker.store import read_ahead as module
from runflow.worker.store.read_ahead import SMALLEST_BYTES, read_ahead, resident_share
from tests.support.waiting import until

MIB = 2**20
MakeCold = Callable[..., Path]


@pytest.fixture
def cold(tmp_path: Path) -> MakeCold:
    """Return a function that makes a file of which nothing is in memory."""

    def make(name: str = "model", size: int = SMALLEST_BYTES) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
        return path

    probe = make("probe", mmap.PAGESIZE)
    before = resident_share(probe)
    probe.read_bytes()
    if (before, resident_share(probe)) != (0.0, 1.0):
        pytest.skip(f"mincore does not tell here what is in memory: the file system of {tmp_path}")
    return make


def test_the_share_in_memory_is_told_by_the_page(cold: MakeCold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW_BYTES", 4 * mmap.PAGESIZE)
    path = cold(size=9 * mmap.PAGESIZE + 1)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # nothing beside what is read
        os.pread(descriptor, 1, 0)
        os.pread(descriptor, 1, 5 * mmap.PAGESIZE)
        assert resident_share(path) == 0.2
    finally:
        os.close(descriptor)
    path.read_bytes()
    assert resident_share(path) == 1.0
    path.write_bytes(b"")
    assert resident_share(path) == 1.0


def test_the_share_of_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        resident_share(tmp_path / "missing")


def test_a_file_of_others_is_not_taken_for_warm(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    path = tmp_path / "model"
    path.write_bytes(b"warm")
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    program = (
        "import os, sys; from pathlib import Path; from runflow.worker.store.read_ahead import resident_share\n"
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(resident_share(Path('model')))"
    )
    answer = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert answer.stdout == "0.0\n", answer.stderr


async def test_a_cold_file_is_read_once(cold: MakeCold) -> None:
    path = cold(size=SMALLEST_BYTES + 12_345)
    assert await read_ahead([path]) == SMALLEST_BYTES + 12_345
    assert resident_share(path) == 1.0
    assert await read_ahead([path]) == 0


async def test_a_small_file_stays_where_it_is(cold: MakeCold) -> None:
    path = cold(size=SMALLEST_BYTES - 1)
    assert await read_ahead([path]) == 0
    assert resident_share(path) == 0.0


async def test_the_first_files_get_what_may_be_read(cold: MakeCold) -> None:
    first, second, third = cold("first"), cold("second"), cold("third")
    most = SMALLEST_BYTES + 20 * MIB
    assert await read_ahead([first, second, third], most_bytes=most) == most
    assert resident_share(first) == 1.0
    assert 20 * MIB / SMALLEST_BYTES <= resident_share(second) < 1.0
    assert resident_share(third) == 0.0


async def test_half_of_the_memory_that_is_available_is_left(cold: MakeCold, monkeypatch: pytest.MonkeyPatch) -> None:
    have = psutil.virtual_memory()._replace(available=32 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: have)
    assert await read_ahead([cold()], most_bytes=SMALLEST_BYTES) == 16 * MIB


async def test_what_cannot_be_read_is_told_once_and_harms_nothing(
    cold: MakeCold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(cold("target"))
    os.mkfifo(tmp_path / "pipe")
    bad, good = cold("bad"), cold("good")
    pread = os.preadv

    def fail(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        if os.fstat(descriptor).st_ino == bad.stat().st_ino:
            raise OSError(5, "Input/output error")
        return pread(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    strays = [tmp_path / "missing", tmp_path, tmp_path / "link", tmp_path / "pipe", bad]
    with capture_logs() as logs:
        assert await read_ahead([*strays, good]) == SMALLEST_BYTES
    assert [line["path"] for line in logs] == [str(path) for path in strays]
    assert resident_share(good) == 1.0
    assert resident_share(tmp_path / "target") == 0.0


async def test_cancelled_it_ends_with_the_piece_that_each_reader_has(
    cold: MakeCold, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cold(size=4 * SMALLEST_BYTES)
    may_go_on = threading.Event()
    offsets: list[int] = []
    pread = os.preadv

    def read_slowly(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        offsets.append(offset)
        may_go_on.wait()
        return pread(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read_slowly)
    reading = asyncio.create_task(read_ahead([path, cold("next")]))
    try:
        await until(lambda: len(offsets) == 8)
        reading.cancel()
        await asyncio.sleep(0)
        assert not reading.done(), "it waits for its readers"
    finally:
        may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert sorted(offsets) == [number * 8 * MIB for number in range(8)]
