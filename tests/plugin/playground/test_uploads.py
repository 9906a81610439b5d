import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer

from plugin.answers import answered
from plugin.playground import uploads
from plugin.playground.uploads import safe_name

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's input folder."""
    folder = tmp_path / "input"
    folder.mkdir()
    folder_paths = ModuleType("folder_paths")
    folder_paths.get_input_directory = lambda: str(folder)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "folder_paths", folder_paths)
    return folder


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_post("/upload", answered(uploads.receive))
    async with TestClient(TestServer(app)) as client:
        yield client


async def send(client: Client, name: str, content: bytes, field: str = "file") -> tuple[int, dict[str, str]]:
    form = FormData()
    form.add_field(field, content, filename=name)
    answer = await client.post("/upload", data=form)
    return answer.status, await answer.json()


async def test_nothing_is_ever_overwritten(client: Client, folder: Path) -> None:
    assert await send(client, "a.bin", b"one") == (200, {"name": "a.bin", "subfolder": "", "type": "input"})
    assert (await send(client, "a.bin", b"one"))[1]["name"] == "a.bin"
    assert (await send(client, "a.bin", b"two"))[1]["name"] == "a (1).bin"
    assert (await send(client, "a.bin", b"two"))[1]["name"] == "a (1).bin"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a.bin": b"one", "a (1).bin": b"two"}


async def test_uploads_of_one_name_at_the_same_time(client: Client, folder: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    names = [each[1]["name"] for each in await asyncio.gather(*(send(client, "x.bin", body) for body in contents))]
    assert len(set(names)) == 8
    assert [(folder / name).read_bytes() for name in names] == contents


async def test_a_link_in_the_folder_is_not_followed(client: Client, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"keep")
    (folder / "a.bin").symlink_to(tmp_path / "precious")
    assert (await send(client, "a.bin", b"new"))[1]["name"] == "a (1).bin"
    assert (await send(client, "a.bin", b"keep"))[1]["name"] == "a (2).bin"
    assert (tmp_path / "precious").read_bytes() == b"keep"


async def test_too_large_leaves_nothing(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 1000)
    status, answer = await send(client, "a.bin", bytes(5000))
    assert (status, answer["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert list(folder.iterdir()) == []


async def test_what_is_no_file_is_refused(client: Client, folder: Path) -> None:
    assert (await send(client, "a.bin", b"x", field="other"))[1]["code"] == "FILE_MISSING"
    answer = await client.post("/upload", data=b"x")
    assert answer.status == 415
    answer = await client.post("/upload", data=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status == 400
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("", "file"),
        ("...", "file"),
        (".bashrc", "bashrc"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ('<a>:"b"|?*.txt', "_a___b____.txt"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("console.log", "console.log"),
        ("x.png [output]", "x.png"),
        ("x.png [temp] [input]", "x.png"),
        ("Überraschung 日本.webp", "Überraschung 日本.webp"),
        ("dot. ", "dot"),
    ],
)
def test_names_are_safe_everywhere(sent: str, stored: str) -> None:
    assert safe_name(sent) == stored


def test_long_names_keep_their_ending() -> None:
    name = safe_name("ü" * 300 + ".safetensors")
    assert name.endswith("ü.safetensors")
    assert len(name.encode()) <= 180
    assert len(safe_name("a." + "b" * 300).encode()) <= 180


async def test_an_upload_that_is_broken_off_is_no_fault(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def lost(*_: object) -> bytes:
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr("aiohttp.BodyPartReader.read_chunk", lost)
    status, body = await send(client, "a.bin", b"one")
    assert (status, body["code"]) == (400, "UPLOAD_BROKEN_OFF")
    assert list(folder.iterdir()) == []
    assert "failed" not in caplog.text
