"""Uploaded models, placed where an engine looks for them: resumed, checked, and never over what is there."""

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runflow.protocol.failures import Failure, FailureCode
from runflow.worker.connection import Connection
from runflow.worker.failures import RunFailed
from runflow.worker.lease import RemoteFile, Resource
from runflow.worker.store.model_store import ModelStore
from runflow.worker.store.models import ModelPlacer
from runflow.worker.store.verified import VerifiedFiles

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Files:
    """A storage that serves one file, in parts where it is asked to, and can break off."""

    def __init__(self, content: bytes = CONTENT, break_after: int | None = None, parts: bool = True) -> None:
        self.content, self.break_after, self.parts = content, break_after, parts
        self.ranges: list[str | None] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range") if self.parts else None
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        response = web.StreamResponse(status=206 if asked else 200)
        response.content_length = len(self.content) - start
        await response.prepare(request)
        end, self.break_after = self.break_after, None
        await response.write(self.content[start:end])
        if end is not None and request.transport is not None:
            request.transport.close()
        return response

    def model(self, path: str = "checkpoints/deep/mine.safetensors", sha256: str = SHA256) -> Resource:
        return Resource(path, RemoteFile(self.url, path, len(CONTENT), sha256))


@asynccontextmanager
async def serving(files: Files) -> AsyncIterator[Files]:
    app = web.Application()
    app.router.add_get("/file", files.answer)
    async with TestServer(app) as server:
        files.url = str(server.make_url("/file"))
        yield files


class Counting(VerifiedFiles):
    """Counts how often a file is read."""

    reads = 0

    def read(self, path: Path) -> str:
        self.reads += 1
        return super().read(path)


class Machine:
    """A worker with an engine's two models folders."""

    def __init__(self, connection: Connection, home: Path, *, allow_pickle: bool = False) -> None:
        self.store = home / "models"
        self.ours, self.theirs = home / "engine" / "models", home / "comfyui" / "models"
        self.ours.mkdir(parents=True, exist_ok=True)
        self.theirs.mkdir(parents=True, exist_ok=True)
        self._connection = connection
        self.verified = Counting()
        self._placer = ModelPlacer(ModelStore(self.store, self.verified), allow_pickle=allow_pickle)

    async def place(self, *models: Resource) -> None:
        await self._placer.place(self._connection, models, (self.ours, self.theirs), patience=5)

    async def failure(self, *models: Resource) -> Failure:
        with pytest.raises(RunFailed) as ended:
            await self.place(*models)
        return ended.value.failure


@pytest.fixture
async def machine(connection: Connection, tmp_path: Path) -> Machine:
    return Machine(connection, tmp_path)


async def test_a_missing_model_is_placed_once(machine: Machine) -> None:
    async with serving(Files()) as files:
        await machine.place(files.model(), files.model("loras/same.safetensors"))
        await machine.place(files.model())
        assert files.ranges == [None]
    placed = machine.ours / "checkpoints/deep/mine.safetensors"
    assert placed.read_bytes() == CONTENT
    assert placed.stat().st_ino == (machine.store / SHA256).stat().st_ino
    assert placed.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("parts", [True, False])
async def test_a_download_that_breaks_off_goes_on(machine: Machine, parts: bool) -> None:
    async with serving(Files(break_after=2_000_000, parts=parts)) as files:
        await machine.place(files.model())
        assert len(files.ranges) == 2
        assert (files.ranges[1] is not None) == parts
    assert (machine.ours / "checkpoints/deep/mine.safetensors").read_bytes() == CONTENT


async def test_what_a_killed_worker_had_is_used(machine: Machine) -> None:
    machine.store.mkdir()
    (machine.store / f"{SHA256}.part").write_bytes(CONTENT[:1_000_000])
    async with serving(Files()) as files:
        await machine.place(files.model())
        assert files.ranges == ["bytes=1000000-"]
    assert (machine.ours / "checkpoints/deep/mine.safetensors").read_bytes() == CONTENT


async def test_other_bytes_are_refused_and_nothing_stays(machine: Machine) -> None:
    async with serving(Files(CONTENT[:-1] + b"x" if CONTENT[-1:] != b"x" else CONTENT[:-1] + b"y")) as files:
        failure = await machine.failure(files.model())
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_MISSING, True)
    assert '"checkpoints/deep/mine.safetensors"' in failure.message
    assert "SHA-256" in failure.message
    assert list(machine.store.iterdir()) == []
    assert not (machine.ours / "checkpoints").exists()


async def test_a_store_that_was_written_to_is_fetched_anew(machine: Machine) -> None:
    async with serving(Files()) as files:
        await machine.place(files.model())
        with (machine.ours / "checkpoints/deep/mine.safetensors").open("r+b") as file:
            file.write(b"changed")
        await machine.place(files.model("loras/other.safetensors"))
    assert (machine.ours / "loras/other.safetensors").read_bytes() == CONTENT


async def test_a_model_is_read_once_for_all_engines(machine: Machine) -> None:
    async with serving(Files()) as files:
        await machine.place(files.model())
        for life in range(3):
            machine.ours = machine.ours.with_name(f"models-{life}")
            machine.ours.mkdir()
            await machine.place(files.model(), files.model("loras/same.safetensors"))
            machine.verified.unlink_below(machine.ours)
            assert [path for path in machine.ours.rglob("*") if path.is_file()] == []
        assert (machine.verified.reads, files.ranges) == (1, [None])


async def test_what_was_written_to_is_read_again_whatever_times_it_shows(machine: Machine) -> None:
    placed = machine.ours / "checkpoints/deep/mine.safetensors"
    async with serving(Files()) as files:
        await machine.place(files.model())
        before = placed.stat()
        with placed.open("r+b") as file:
            file.write(b"changed")
        os.utime(placed, ns=(before.st_atime_ns, before.st_mtime_ns))
        await machine.place(files.model("loras/other.safetensors"))
        assert machine.verified.reads == 3, "as it came, as it was found, as it came again"
    assert (machine.ours / "loras/other.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize("folder", ["ours", "theirs"])
async def test_what_is_there_stays(machine: Machine, folder: str) -> None:
    there = getattr(machine, folder) / "checkpoints/deep/mine.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"the operator's")
    async with serving(Files()) as files:
        await machine.place(files.model())
        assert files.ranges == []
    assert there.read_bytes() == b"the operator's"


@pytest.mark.parametrize(
    "path", ["../evil.safetensors", "/etc/evil.safetensors", "a\\..\\..\\b.safetensors", "", "C:/x"]
)
async def test_no_path_leads_out(machine: Machine, path: str) -> None:
    async with serving(Files()) as files:
        failure = await machine.failure(files.model(path))
        assert files.ranges == []
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_MISSING, False)


async def test_no_link_leads_out(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (machine.ours / "checkpoints").symlink_to(tmp_path / "elsewhere")
    async with serving(Files()) as files:
        failure = await machine.failure(files.model())
    assert failure.code is FailureCode.MODEL_MISSING
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("suffix", [".ckpt", ".PT", ".pth", ".bin"])
async def test_formats_that_can_hold_code_are_the_operators_decision(
    machine: Machine, connection: Connection, tmp_path: Path, suffix: str
) -> None:
    async with serving(Files()) as files:
        model = files.model(f"checkpoints/mine{suffix}")
        failure = await machine.failure(model)
        assert files.ranges == []
        await Machine(connection, tmp_path, allow_pickle=True).place(model)
    assert "RUNFLOW_WORKER_ALLOW_PICKLE" in failure.message
    assert (machine.ours / f"checkpoints/mine{suffix}").read_bytes() == CONTENT


async def test_without_hard_links_it_is_a_copy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    async with serving(Files()) as files:
        await machine.place(files.model())
    folder = machine.ours / "checkpoints/deep"
    assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
    assert (folder / "mine.safetensors").read_bytes() == CONTENT


async def test_a_model_that_was_deleted_fails_the_run(machine: Machine) -> None:
    async with serving(Files()) as files:
        files.url = files.url.replace("/file", "/gone")
        failure = await machine.failure(files.model())
    assert failure.code is FailureCode.MODEL_MISSING
    assert "404" in failure.message


async def test_an_attached_engine_gets_nothing(connection: Connection, tmp_path: Path) -> None:
    placer = ModelPlacer(ModelStore(tmp_path / "models"), allow_pickle=False)
    async with serving(Files()) as files:
        await placer.place(connection, (files.model(),), (), patience=1)
        assert files.ranges == []
