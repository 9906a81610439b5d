"""Output files arrive whole, under names that stay in their folder."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runflow.client import ApiError, AsyncRunflow, DownloadFailed, NotFound, Runflow, RunflowUnreachable
from runflow.client import exchange as pauses
from runflow.client.downloads import _name
from runflow.client.records import OutputFile
from tests.support.platform_fixtures import free_port
from tests.support.scripted import CUT, Reply, Script, scripted

CONTENT = b"a picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(pauses, "FIRST_CONTACT_SECONDS", 0.05)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_broken_download_begins_again_and_the_key_stays_here(tmp_path: Path, kind: str) -> None:
    half = Reply(200, CONTENT[:3], {"Content-Length": "9"}, cut_off=True)
    with scripted(half, CUT, Reply(200, CONTENT)) as server:
        output = {"url": f"{server.url}/file", "sha256": SHA256}
        if kind == "sync":
            with Runflow("http://127.0.0.1:1", "rf_live_x") as api:
                saved = api.download(output, tmp_path / "a.png")
        else:
            async with AsyncRunflow("http://127.0.0.1:1", "rf_live_x") as awaited:
                saved = await awaited.download(output, tmp_path / "a.png")
    assert saved.read_bytes() == CONTENT and [*tmp_path.iterdir()] == [saved]
    assert server.header("Authorization") == [None, None, None]


async def save(kind: str, output: dict[str, str], path: Path) -> Path:
    if kind == "sync":
        with Runflow("http://127.0.0.1:1", "rf_live_x") as api:
            return api.download(output, path)
    async with AsyncRunflow("http://127.0.0.1:1", "rf_live_x") as awaited:
        return await awaited.download(output, path)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_is_not_the_file_of_the_record_is_not_kept_and_takes_no_other_s_place(
    tmp_path: Path, kind: str
) -> None:
    mine = tmp_path / "a.png"
    mine.write_bytes(b"mine")
    with scripted(Reply(200, b"other")) as server, pytest.raises(DownloadFailed, match="SHA-256"):
        await save(kind, {"url": f"{server.url}/file", "sha256": SHA256}, mine)
    assert [*tmp_path.iterdir()] == [mine] and mine.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_cannot_be_saved_leaves_no_half_behind(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a.png"
    folder.mkdir()
    with scripted(Reply(200, CONTENT)) as server, pytest.raises(IsADirectoryError):
        await save(kind, {"url": f"{server.url}/file", "sha256": SHA256}, folder)
    assert [*tmp_path.iterdir()] == [folder]


def test_a_url_that_is_over_is_replaced_by_reading_the_run(tmp_path: Path) -> None:
    with scripted() as server, Runflow(server.url, "rf_live_x") as api:
        output = {"url": f"{server.url}/file", "filename": "a.png", "sha256": None}
        run = {"id": "a", "status_code": "succeeded", "is_terminal": True, "output": {"outputs": [output]}}
        server.replies += [Reply(403, b"<Error/>"), Reply(200, run), Reply(200, CONTENT)]
        (saved,) = api.save_outputs(run, tmp_path)
        assert saved.read_bytes() == CONTENT
        server.replies += [Reply(404, {"code": "NOT_FOUND", "message": "Gone."})]
        with pytest.raises(NotFound):
            api.save_outputs(run, tmp_path)
    assert server.lines[:3] == ["GET /file", "GET /v1/runs/a", "GET /file"]
    assert issubclass(NotFound, ApiError)


def test_where_a_file_lies_may_not_answer_either(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with Runflow(away, "rf_live_x") as client, pytest.raises(RunflowUnreachable, match=away) as raised:
        client.download({"url": f"{away}/file?signature=hidden"}, tmp_path / "a.png")
    assert "hidden" not in str(raised.value)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\a.png", "a.png"),
        ("/abs.png", "abs.png"),
        ("..", "output"),
        ("", "output"),
        ("a/..", "output"),
    ],
)
def test_a_name_of_the_server_stays_in_the_folder(given: str, expected: str) -> None:
    assert _name(OutputFile(filename=given)) == expected


def of_run(server: Script, name: str) -> dict[str, Any]:
    output = {"url": f"{server.url}/{name}", "filename": "a.png", "sha256": None}
    return {"id": name, "status_code": "succeeded", "is_terminal": True, "output": {"outputs": [output]}}


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_nothing_is_replaced_by_who_saves_at_the_same_time(tmp_path: Path, kind: str) -> None:
    """Runs of one workflow deliver files of one name, and programs save them as they come."""
    (tmp_path / "a.png").write_bytes(b"mine")
    with scripted(*(Reply(200, str(number).encode()) for number in range(12))) as server:
        runs = [of_run(server, str(number)) for number in range(12)]
        if kind == "sync":
            with Runflow(server.url, "rf_live_x") as api, ThreadPoolExecutor(12) as threads:
                saved = [*threads.map(lambda run: api.save_outputs(run, tmp_path), runs)]
        else:
            async with AsyncRunflow(server.url, "rf_live_x") as awaited:
                saved = await asyncio.gather(*(awaited.save_outputs(run, tmp_path) for run in runs))
    assert {path for (path,) in saved} == {tmp_path / f"a-{number}.png" for number in range(1, 13)}
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(
        [b"mine", *(str(number).encode() for number in range(12))]
    )
