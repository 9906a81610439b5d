"""What is remembered of the operator's files, by several workers of one machine of which some are killed."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from runflow.worker.store.known_hashes import BackgroundHasher, FileChanged, KnownHashes
from tests.support.waiting import DEADLINE, until

Read = Callable[[int, Sequence[Any], int], int]
PIECE = 8 * 2**20


def put(path: Path, content: bytes = b"model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


MODEL = sha256_of(b"model")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "home/known-hashes"


@pytest.fixture
def known(log: Path) -> KnownHashes:
    return KnownHashes(log)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return put(tmp_path / "models/model")


class Reads:
    """Stands before each piece that is read: counts them, and lets them through while it is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.open = threading.Event()
        self.open.set()
        self.meanwhile: Callable[[], object] = lambda: None
        self._read: Read = os.preadv
        monkeypatch.setattr(os, "preadv", self._preadv)

    def _preadv(self, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        self.count += 1
        self.meanwhile()
        self.open.wait(DEADLINE)
        return self._read(descriptor, buffers, offset)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def test_a_hash_is_known_after_a_restart_and_to_others_until_the_file_is_written_to(
    known: KnownHashes, log: Path, model: Path, reads: Reads
) -> None:
    other = KnownHashes(log)
    assert (known.known(model), known.find(MODEL)) == (None, None)
    assert await known.hash(model) == MODEL
    count = reads.count
    for one in (known, other, KnownHashes(log)):
        assert (one.known(model), one.find(MODEL)) == (MODEL, model)
        assert await one.hash(model) == MODEL
    assert reads.count == count
    assert log.stat().st_mode & 0o777 == 0o600
    os.link(model, model.with_name("of an engine"))
    assert (known.known(model), known.find(MODEL)) == (MODEL, model), "a further name changes nothing"
    model.write_bytes(b"other")
    assert (known.known(model), known.find(MODEL)) == (None, None)
    assert await known.hash(model) == sha256_of(b"other")
    assert (other.known(model), other.find(MODEL)) == (sha256_of(b"other"), None)


async def test_a_copy_is_found_when_the_first_is_gone(known: KnownHashes, model: Path, tmp_path: Path) -> None:
    copy = put(tmp_path / "copy")
    for path in (model, copy):
        await known.hash(path)
    model.unlink()
    assert known.find(MODEL) == copy


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
async def test_a_file_is_read_whole(known: KnownHashes, tmp_path: Path, size: int) -> None:
    content = os.urandom(1) * size
    assert await known.hash(put(tmp_path / "file", content)) == sha256_of(content)


async def test_names_may_be_anything(known: KnownHashes, log: Path, tmp_path: Path) -> None:
    path = put(tmp_path / os.fsdecode(b'a\n"\xff'))
    await known.hash(path)
    assert KnownHashes(log).find(MODEL) == path


@pytest.mark.parametrize("torn", [b'{"path": "/x", "dev', b"[]\n", b"\xff\n\n", b'{"path": 1}\n'])
async def test_a_torn_line_costs_itself_alone(known: KnownHashes, log: Path, tmp_path: Path, torn: bytes) -> None:
    first, second = put(tmp_path / "first", b"1"), put(tmp_path / "second", b"2")
    await known.hash(first)
    with log.open("ab") as file:
        file.write(torn)
    await known.hash(second)
    for one in (known, KnownHashes(log)):
        assert (one.known(first), one.known(second)) == (sha256_of(b"1"), sha256_of(b"2"))


async def test_the_log_is_written_anew_when_more_than_half_is_stale(
    known: KnownHashes, log: Path, model: Path, tmp_path: Path
) -> None:
    away = put(tmp_path / "disk/away", b"away")
    await known.hash(away)
    for number in range(4):
        await known.hash(put(model, str(number).encode()))
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    fresh = KnownHashes(log)
    assert log.read_bytes().count(b"sha256") == 2
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert fresh.known(model) == sha256_of(b"3")
    assert fresh.known(away) == known.known(away) == sha256_of(b"away")
    again = put(tmp_path / "again")
    await known.hash(again)
    assert fresh.known(again) == KnownHashes(log).known(again) == MODEL


async def test_what_is_gone_is_forgotten_when_asked(known: KnownHashes, log: Path, model: Path, tmp_path: Path) -> None:
    gone = put(tmp_path / "gone", b"gone")
    await known.hash(gone)
    await known.hash(model)
    assert known.forget_missing() == 0
    gone.unlink()
    assert known.forget_missing() == 1
    assert sha256_of(b"gone").encode() not in log.read_bytes()
    assert known.known(model) == KnownHashes(log).known(model) == MODEL


async def test_a_file_that_is_written_to_while_it_is_read_has_no_hash(
    known: KnownHashes, model: Path, reads: Reads
) -> None:
    reads.meanwhile = lambda: model.write_bytes(b"other")
    with pytest.raises(FileChanged, match=r"models/model was written to.*Try again"):
        await known.hash(model)
    assert known.known(model) is None


async def test_two_writes_within_a_tick_of_the_clock_are_told_apart(known: KnownHashes, model: Path) -> None:
    for number in range(10):
        model.write_bytes(b"%d" % number)
        assert await known.hash(model) == sha256_of(b"%d" % number)
        model.write_bytes(b"x")
        assert known.known(model) is None


@pytest.mark.parametrize("stray", ["missing", "folder", "pipe"])
async def test_what_is_no_file_has_no_hash(known: KnownHashes, tmp_path: Path, stray: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert known.known(tmp_path / stray) is None
    with pytest.raises(OSError, match=stray):
        await known.hash(tmp_path / stray)


async def test_a_log_that_cannot_be_written_is_told_and_the_hash_is_known_meanwhile(
    known: KnownHashes, log: Path, model: Path
) -> None:
    log.mkdir()
    log.rmdir()
    log.with_name("known-hashes.lock").unlink()
    log.with_name("known-hashes.lock").mkdir()
    with capture_logs() as logs:
        assert await known.hash(model) == MODEL
    assert [line["file"] for line in logs] == [str(log)]
    assert known.known(model) == MODEL


async def test_who_asks_for_a_file_that_is_being_read_joins(known: KnownHashes, model: Path, reads: Reads) -> None:
    reads.open.clear()
    asking = [asyncio.create_task(known.hash(model)) for _ in range(3)]
    await until(lambda: reads.count)
    asking[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking[0]
    reads.open.set()
    assert await asyncio.gather(*asking[1:]) == [MODEL, MODEL]
    assert reads.count == 2, "the content, and its end"


async def test_when_all_are_cancelled_it_stops_with_the_piece(known: KnownHashes, tmp_path: Path, reads: Reads) -> None:
    path = put(tmp_path / "large", b"x" * 3 * PIECE)
    reads.open.clear()
    asking = asyncio.create_task(known.hash(path))
    await until(lambda: reads.count)
    asking.cancel()
    await asyncio.sleep(0)
    assert not asking.done(), "the piece is read from an open file"
    reads.open.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (reads.count, known.known(path)) == (1, None)
    assert await known.hash(path) == sha256_of(b"x" * 3 * PIECE)


async def test_a_reading_in_the_background_is_last_until_a_run_needs_it(
    known: KnownHashes, model: Path, reads: Reads
) -> None:
    turn = asyncio.Event()
    priorities: list[int] = []
    reads.meanwhile = lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    waiting = asyncio.create_task(known.hash(model, turn=turn))
    other = put(model.with_name("other"), b"other")
    turn_of_other = asyncio.Event()
    turn_of_other.set()
    assert await known.hash(other, turn=turn_of_other) == sha256_of(b"other")
    assert not waiting.done()
    assert await known.hash(model) == MODEL
    assert await waiting == MODEL
    assert priorities[2:] == [os.getpriority(os.PRIO_PROCESS, 0)] * 2
    if sys.platform == "linux":
        assert priorities[:2] == [19, 19]


HASH = """
import asyncio, sys
from pathlib import Path
from runflow.worker.store.known_hashes import KnownHashes
async def main():
    known = KnownHashes(Path(sys.argv[1]))
    for path in sorted(Path(sys.argv[2]).iterdir()):
        print(path.name, await known.hash(path), flush=True)
asyncio.run(main())
"""


def test_workers_that_are_killed_lose_nothing_that_they_have_told(log: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for number in range(500):
            put(tmp_path / folder / str(number), f"{folder}{number}".encode())
    workers = [
        subprocess.Popen([sys.executable, "-c", HASH, log, tmp_path / folder], stdout=subprocess.PIPE, text=True)
        for folder in ("a", "b")
    ]
    for worker in workers:
        assert worker.stdout is not None
        for _ in range(20):
            worker.stdout.readline()
    for worker in workers:
        worker.kill()
    told = [worker.communicate(timeout=DEADLINE)[0].splitlines() for worker in workers]
    known = KnownHashes(log)
    for folder, lines in zip(("a", "b"), told, strict=True):
        for name, sha256 in (line.split() for line in lines if len(line.split()) == 2):
            if len(sha256) == 64:
                assert known.known(tmp_path / folder / name) == sha256 == sha256_of(f"{folder}{name}".encode())


class Hashing:
    """A hasher in the background of some files."""

    def __init__(self, known: KnownHashes, *files: Path, every_seconds: float = DEADLINE) -> None:
        self.files = list(files)
        self.hashed: list[tuple[Path, str]] = []
        self.hasher = BackgroundHasher(
            known,
            lambda: self.files,
            on_hashed=lambda path, sha256: self.hashed.append((path, sha256)),
            every_seconds=every_seconds,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hasher.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_unknown_files_are_read_small_ones_first_and_new_ones_when_it_is_woken(
    known: KnownHashes, tmp_path: Path
) -> None:
    large, small, old = put(tmp_path / "large", b"large"), put(tmp_path / "small", b"s"), put(tmp_path / "old", b"old")
    await known.hash(old)
    hashing = Hashing(known, large, old, small, tmp_path / "missing", tmp_path)
    with capture_logs() as logs:
        async with hashing.running():
            await until(lambda: len(hashing.hashed) == 2)
            hashing.files.append(put(tmp_path / "new", b"new"))
            hashing.hasher.wake()
            await until(lambda: len(hashing.hashed) == 3)
    assert hashing.hashed == [(path, sha256_of(path.read_bytes())) for path in (small, large, tmp_path / "new")]
    assert [line["path"] for line in logs] == [str(tmp_path)], "told once, though looked at twice"


async def test_a_pause_lasts_as_long_as_anybody_wants_it(known: KnownHashes, model: Path, reads: Reads) -> None:
    hashing = Hashing(known, model)
    with hashing.hasher.pause():
        async with hashing.running():
            with hashing.hasher.pause():
                await asyncio.sleep(0)
            other = put(model.with_name("other"), b"other")
            assert await known.hash(other) == sha256_of(b"other"), "what a run needs is read nevertheless"
            assert hashing.hashed == []
    async with hashing.running():
        await until(lambda: hashing.hashed == [(model, MODEL)])


async def test_cancelled_it_stops_with_the_piece(known: KnownHashes, tmp_path: Path, reads: Reads) -> None:
    hashing = Hashing(known, put(tmp_path / "large", b"x" * 3 * PIECE))
    reads.open.clear()
    running = asyncio.create_task(hashing.hasher.run())
    await until(lambda: reads.count)
    running.cancel()
    await asyncio.sleep(0)
    reads.open.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (reads.count, hashing.hashed) == (1, [])


READ_SLOWLY = """
import asyncio, os, sys
from pathlib import Path
from runflow.worker.store.known_hashes import BackgroundHasher, KnownHashes
def read_for_ever(*given):
    print("reading", flush=True)
    sys.stdin.read()
os.preadv = read_for_ever
asyncio.run(BackgroundHasher(KnownHashes(Path(sys.argv[1])), lambda: [Path(sys.argv[2])]).run())
"""


async def test_a_file_that_another_worker_reads_is_left_to_it_until_it_is_killed(
    known: KnownHashes, log: Path, model: Path
) -> None:
    command = [sys.executable, "-c", READ_SLOWLY, str(log), str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"reading\n"
            other = put(model.with_name("other"), b"larger than it")
            hashing = Hashing(known, model, other, every_seconds=0.01)
            async with hashing.running():
                await until(lambda: hashing.hashed)
                assert hashing.hashed == [(other, sha256_of(b"larger than it"))]
                process.kill()
                await until(lambda: len(hashing.hashed) == 2)
        finally:
            process.kill()
    assert hashing.hashed[1] == (model, MODEL)


async def test_what_another_worker_has_read_is_told_too(known: KnownHashes, log: Path, model: Path) -> None:
    hashing = Hashing(known, model, every_seconds=0.01)
    other = KnownHashes(log)
    claim = other.claims.try_alone(hashlib.sha256(os.fsencode(model)).hexdigest())
    assert claim is not None
    with claim:
        async with hashing.running():
            await until(lambda: hashing.hasher._waiting)
            await other.hash(model)
            await until(lambda: hashing.hashed == [(model, MODEL)])
