"""The store of a machine: what is kept, who holds it, and what has to go."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from runflow.worker.store import content
from runflow.worker.store.content import ContentStore, Held, StoreFull
from runflow.worker.store.fetch.ranges import Body, SourceFailed


class Bytes:
    """A source that has some bytes, and counts how often it is asked."""

    what = "the test's source"

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    @contextlib.asynccontextmanager
    async def open(self, start: int, end: int | None, validator: str | None) -> AsyncIterator[Body]:
        self.asked += 1

        async def chunks() -> AsyncIterator[bytes]:
            yield self.data[start:end]

        yield Body(start, len(self.data), None, chunks(), is_part=True)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


async def fetch(store: ContentStore, source: Bytes, *, public: bool = True, sha256: str | None = None) -> Held:
    wanted = sha256 or source.sha256
    return await store.fetch(
        source, sha256=wanted, name=wanted, size_bytes=None, most_bytes=1 << 30, patience=5, public=public
    )


async def kept(store: ContentStore, size_bytes: int) -> str:
    """Have some new bytes in the store, which nobody uses."""
    held = await fetch(store, Bytes(os.urandom(size_bytes)))
    held.release()
    return held.sha256


async def test_what_is_fetched_is_there_for_everybody_who_asks_for_it(tmp_path: Path) -> None:
    source = Bytes(b"weights")
    stores = [ContentStore(tmp_path / "store") for _ in range(2)]
    held = await asyncio.gather(*(fetch(store, source) for store in stores for _ in range(3)))
    assert {one.path.read_bytes() for one in held} == {b"weights"}
    assert source.asked == 1
    taken = await stores[1].take(source.sha256)
    assert taken is not None and taken.path == held[0].path


async def test_another_content_than_promised_is_not_kept(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store")
    with pytest.raises(SourceFailed, match="the test's source"):
        await fetch(store, Bytes(b"other"), sha256="0" * 64)
    assert store.contents() == []


async def test_an_upload_is_not_public_until_an_address_had_it(tmp_path: Path) -> None:
    store, source = ContentStore(tmp_path / "store"), Bytes(b"weights")
    await fetch(store, source, public=False)
    assert await store.take(source.sha256, public=True) is None
    assert await store.take(source.sha256) is not None
    await fetch(store, source, public=True)
    assert source.asked == 2
    assert await store.take(source.sha256, public=True) is not None
    assert [one.is_public for one in store.contents()] == [True]


async def test_a_content_that_somebody_wrote_to_is_not_used(tmp_path: Path) -> None:
    source = Bytes(b"weights")
    for is_safe in (True, False):
        store = ContentStore(tmp_path / "store", is_safe=partial(bool, is_safe))
        held = await fetch(store, source)
        state = held.path.stat()
        held.path.write_bytes(b"changed")
        if not is_safe:
            os.utime(held.path, ns=(state.st_atime_ns, state.st_mtime_ns))
        held.release()
        assert await store.take(source.sha256) is None
    assert source.asked == 2


async def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store", limit_bytes=2500)
    first, second = await kept(store, 1000), await kept(store, 1000)
    for age, sha256 in ((20, second), (10, first)):
        os.utime(store.folder / "uses" / sha256, (1_000_000 - age,) * 2)
    third = await kept(store, 1000)
    assert [one.sha256 for one in store.contents()] == [first, third]


async def test_what_is_held_stays_and_nothing_goes_in_vain(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store", limit_bytes=2500)
    held = await fetch(store, Bytes(os.urandom(2000)))
    with pytest.raises(StoreFull, match="RUNFLOW_STORE_BYTES"):
        await kept(store, 1000)
    held.release()
    other = await kept(store, 1000)
    assert [one.sha256 for one in store.contents()] == [other]
    with pytest.raises(StoreFull):
        await kept(store, 3000)
    assert [one.sha256 for one in store.contents()] == [other]


async def test_a_full_disk_gives_up_what_nobody_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    room = content.RESERVE_BYTES + 2500
    store = ContentStore(tmp_path / "store")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(room - sum(one.size_bytes for one in store.contents())))
    first, second = await kept(store, 1000), await kept(store, 1000)
    os.utime(store.folder / "uses" / first, (0, 0))
    third = await kept(store, 1000)
    assert {one.sha256 for one in store.contents()} == {second, third}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_fills_up_meanwhile_ends_the_download_and_nothing_else(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "RESERVE_BYTES", 0)
    store = ContentStore(small_disk / "store")
    first = await kept(store, 1_000_000)
    source = Bytes(os.urandom(2_500_000))
    (small_disk / "others").write_bytes(bytes(500_000))

    def take_the_rest(size_bytes: int, written_bytes: int = 0) -> None:
        with contextlib.suppress(OSError), (small_disk / "others").open("ab") as file:
            while True:
                file.write(bytes(100_000))
                file.flush()

    monkeypatch.setattr(store, "_make_room", take_the_rest)
    with pytest.raises(OSError, match="No space left"):
        await fetch(store, source)
    assert [one.sha256 for one in store.contents()] == [first]
    assert [path for path in (store.folder / "downloads").iterdir() if path.suffix != ".lock"] == []
    monkeypatch.undo()
    monkeypatch.setattr(content, "RESERVE_BYTES", 0)
    (small_disk / "others").unlink()
    held = await fetch(store, source)
    assert held.path.read_bytes() == source.data
    held.release()


_HOLDS = """
import asyncio, sys
from pathlib import Path
from runflow.worker.store.content import ContentStore
held = asyncio.run(ContentStore(Path(sys.argv[1])).take(sys.argv[2]))
print("holds" if held else "nothing", flush=True)
sys.stdin.read()
"""


async def test_what_another_process_holds_stays_until_that_is_killed(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store")
    sha256 = await kept(store, 1000)
    command = [sys.executable, "-c", _HOLDS, str(store.folder), sha256]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        assert not store.remove(sha256)
        process.kill()
        process.wait()
    assert store.remove(sha256)
    assert store.contents() == []


async def test_a_file_of_the_operators_is_copied_whole_or_not_at_all(tmp_path: Path) -> None:
    store, file = ContentStore(tmp_path / "store"), tmp_path / "own.safetensors"
    file.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    held = await store.adopt(file, sha256)
    file.write_bytes(b"changed")
    assert held.path.read_bytes() == b"weights"
    with pytest.raises(SourceFailed, match="has changed"):
        await store.adopt(file, "0" * 64)
    assert [one.sha256 for one in store.contents()] == [sha256]
