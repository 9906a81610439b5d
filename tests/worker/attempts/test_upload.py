import hashlib
import os
from pathlib import Path

import pytest

from runflow.graph import OutputFile
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.attempts.upload import LocalOutput, Uploading, inspect, upload
from runflow.worker.engine.boundary import open_own
from runflow.worker.server_api.connection import Connection, LeaseLost
from tests.support.fake_server import FakeServer
from tests.worker.scripted_engine import png


def output(name: str, index: int = 0) -> OutputFile:
    return OutputFile("image", "9", name, "", "output", index)


async def look(path: Path, index: int = 0, limit_bytes: int = 1 << 30) -> LocalOutput:
    return await inspect(output(path.name, index), open_own(path, path.name), limit_bytes=limit_bytes)


async def test_large_files_are_streamed_and_hashed_on_the_way(
    server: FakeServer, connection: Connection, tmp_path: Path
) -> None:
    content = os.urandom(3 * 1024 * 1024 + 17)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    local = await look(path)
    assert local.content is None
    server.faults["put"].append(503)
    [stored] = await upload([local], Uploading(connection, "L", 60.0))
    assert server.objects[stored.object_key or ""] == content
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert (stored.size_bytes, stored.content_type) == (len(content), "video/mp4")
    assert (stored.width, stored.height) == (None, None)


@pytest.mark.parametrize(("per_request", "requests"), [(500, 1), (5, 3)])
async def test_many_files_keep_their_order(
    server: FakeServer,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    per_request: int,
    requests: int,
) -> None:
    monkeypatch.setattr("runflow.worker.attempts.upload._FILES_PER_REQUEST", per_request)
    outputs = []
    for index in range(12):
        path = tmp_path / f"{index}.png"
        path.write_bytes(png(index + 1, 2))
        outputs.append(await look(path, index))
    stored = await upload(outputs, Uploading(connection, "L", 60.0))
    assert [each.ordinal for each in stored] == list(range(12))
    assert [each.width for each in stored] == list(range(1, 13))
    assert server.log.count("uploads L") == requests


async def test_only_what_is_missing_is_sent_again_under_fresh_urls(
    server: FakeServer, connection: Connection, tmp_path: Path
) -> None:
    outputs = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        path.write_bytes(png())
        outputs.append(await look(path, index))
    server.faults["put"].append(403)
    stored = await upload(outputs, Uploading(connection, "L", 60.0))
    assert [each.ordinal for each in stored] == [0, 1, 2]
    assert server.log.count("put") == 4


@pytest.mark.parametrize(("status", "retryable"), [(413, False), (400, True)])
async def test_a_refused_file_fails_the_run(
    server: FakeServer, connection: Connection, tmp_path: Path, status: int, retryable: bool
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png())
    local = await look(path)
    server.faults["put"].append(status)
    with pytest.raises(RunFailed) as ended:
        await upload([local], Uploading(connection, "L", 60.0))
    assert ended.value.failure.code == "OUTPUT_UPLOAD_FAILED"
    assert ended.value.failure.retryable is retryable


async def test_a_lost_lease_is_no_failure_of_the_run(
    server: FakeServer, connection: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png())
    local = await look(path)
    server.lost.add("L")
    with pytest.raises(LeaseLost):
        await upload([local], Uploading(connection, "L", 60.0))


async def test_no_outputs_need_no_request(server: FakeServer, connection: Connection) -> None:
    assert await upload([], Uploading(connection, "L", 60.0)) == []
    assert server.log == []


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("change", [-5, 5])
async def test_a_file_that_changes_before_it_is_looked_at_fails_the_run(
    tmp_path: Path, change: int, large: bool
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(2 * 1024 * 1024 if large else 100))
    opened = open_own(path, path.name)
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(RunFailed) as ended:
        await inspect(output(path.name), opened, limit_bytes=1 << 30)
    assert ended.value.failure.code == "OUTPUT_UPLOAD_FAILED"
    assert "was still being written" in ended.value.failure.message
    with pytest.raises(OSError, match="closed"):
        opened.read(1, 0)


@pytest.mark.parametrize("change", [-1024 * 1024 - 5, 5])
async def test_a_file_that_grows_or_shrinks_while_it_is_sent_fails_the_run_at_once(
    server: FakeServer, connection: Connection, tmp_path: Path, change: int
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(3 * 1024 * 1024))
    local = await look(path)
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(RunFailed) as ended:
        await upload([local], Uploading(connection, "L", 60.0))
    assert ended.value.failure.code == "OUTPUT_UPLOAD_FAILED"
    assert "was still being written" in ended.value.failure.message
    assert not server.objects
    assert server.log.count("put") <= 1


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as sparse:
        sparse.truncate(100 * 10**9)
    with pytest.raises(RunFailed, match="has 100000000000 bytes; at most 1000 are accepted"):
        await look(path, limit_bytes=1000)


async def test_what_is_sent_is_the_file_that_was_looked_at(
    server: FakeServer, connection: Connection, tmp_path: Path
) -> None:
    content = os.urandom(2 * 1024 * 1024)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    local = await look(path)
    (tmp_path / "other").write_bytes(os.urandom(2 * 1024 * 1024))
    (tmp_path / "other").replace(path)
    server.faults["put"].append(503)
    [stored] = await upload([local], Uploading(connection, "L", 60.0))
    assert server.objects[stored.object_key or ""] == content
    local.close()
