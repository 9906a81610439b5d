"""The models that a version declares: found by content, fetched, and given to the run's engine."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runflow.outgoing import GuardedClient
from runflow.protocol.failures import Failure, FailureCode
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.attempts.lease import Model
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.content import ContentStore
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.models import ModelFetcher, RunModels
from runflow.worker.store.own_models import OwnModels
from tests.support.waiting import until

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "checkpoints/deep/mine.safetensors"


class Files:
    """A host that serves one file, in parts where it is asked to, and can break off."""

    def __init__(self, content: bytes = CONTENT, break_after: int | None = None, parts: bool = True) -> None:
        self.content, self.break_after, self.parts = content, break_after, parts
        self.asked = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        asked = request.http_range if self.parts else slice(None)
        start, stop = asked.start or 0, min(asked.stop or len(self.content), len(self.content))
        response = web.StreamResponse(status=206 if asked.start is not None else 200)
        response.content_length = stop - start
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.content)}"
        await response.prepare(request)
        end, self.break_after = self.break_after, None
        await response.write(self.content[start : stop if end is None else end])
        if end is not None and request.transport is not None:
            request.transport.close()
        return response

    def upload(self, path: str = PATH, sha256: str = SHA256) -> Model:
        return Model(path, self.url, len(CONTENT), sha256)

    def address(self, path: str = PATH, sha256: str | None = SHA256) -> Model:
        return Model(path, self.url, None, sha256, is_upload=False)


@asynccontextmanager
async def serving(files: Files) -> AsyncIterator[Files]:
    app = web.Application()
    app.router.add_get("/file", files.answer)
    async with TestServer(app) as server:
        files.url = str(server.make_url("/file"))
        yield files


class Machine:
    """A worker with a ComfyUI, and an engine that is given models."""

    def __init__(self, connection: Connection, home: Path, outgoing: GuardedClient) -> None:
        self.home, self.engine, self.own = home, home / "engine" / "models", home / "comfyui" / "models"
        for folder in (self.engine, self.own):
            folder.mkdir(parents=True, exist_ok=True)
        self.store = ContentStore(home / "store")
        self.shown: tuple[Path, ...] = ()
        self._connection, self._outgoing = connection, outgoing
        self.fetcher = self.make()

    def make(self, *, allow_pickle: bool = False, most_bytes: int = 1 << 30) -> ModelFetcher:
        self.own_models = OwnModels(self.home / "comfyui", KnownHashes(self.home / "own.jsonl"), self.folders)
        return ModelFetcher(
            self.store,
            self.own_models,
            self._outgoing,
            credentials=Credentials(),
            allow_pickle=allow_pickle,
            most_bytes=most_bytes,
        )

    async def folders(self) -> tuple[Path, ...]:
        return self.shown

    async def fetch(self, *models: Model) -> RunModels:
        return await self.fetcher.fetch(self._connection, models, patience=5)

    async def run(self, *models: Model) -> RunModels:
        """Do for a run's models what is done until it ends."""
        found = await self.fetch(*models)
        await self.fetcher.place(found, self.engine)
        await found.release()
        return found

    async def failure(self, *models: Model) -> Failure:
        with pytest.raises(RunFailed) as ended:
            await self.run(*models)
        return ended.value.failure

    def given(self, path: str = PATH) -> bytes:
        return (self.engine / path).read_bytes()


@pytest.fixture
async def machine(connection: Connection, tmp_path: Path) -> AsyncIterator[Machine]:
    async with GuardedClient("127.0.0.0/8") as outgoing:
        yield Machine(connection, tmp_path, outgoing)


async def test_a_missing_model_is_fetched_once_and_linked(machine: Machine) -> None:
    async with serving(Files()) as files:
        await machine.run(files.upload(), files.upload("loras/same.safetensors"))
        await machine.run(files.upload())
        assert files.asked == 1
    placed = machine.engine / PATH
    assert machine.given() == CONTENT
    assert placed.stat().st_ino == (machine.store.folder / "models" / SHA256).stat().st_ino
    assert placed.stat().st_mode & 0o777 == 0o644


async def test_a_model_comes_from_the_address_that_the_manifest_names(machine: Machine) -> None:
    async with serving(Files()) as files:
        await machine.run(files.address())
    assert machine.given() == CONTENT


async def test_without_a_hash_what_an_address_had_first_counts(machine: Machine) -> None:
    async with serving(Files()) as files:
        first = await machine.fetch(files.address(sha256=None))
        files.content = b"other"
        again = await machine.fetch(files.address(sha256=None))
        assert files.asked == 1
    assert first.contents == again.contents == {PATH: SHA256}


@pytest.mark.parametrize("parts", [True, False])
async def test_a_download_that_breaks_off_goes_on(machine: Machine, parts: bool) -> None:
    async with serving(Files(break_after=2_000_000, parts=parts)) as files:
        await machine.run(files.upload())
        assert files.asked == 2
    assert machine.given() == CONTENT


async def test_other_bytes_are_refused_and_nothing_stays(machine: Machine) -> None:
    async with serving(Files(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))) as files:
        failure = await machine.failure(files.upload())
        assert (failure.code, failure.retryable) == (FailureCode.MODEL_MISSING, True)
        assert f'"{PATH}"' in failure.message
        assert "SHA-256" in failure.message
        told = await machine.failure(files.address())
        assert (told.retryable, told.lacking) == (False, False), "it would be another file again, for everybody"
    assert machine.store.contents() == []
    assert [path.name for path in (machine.store.folder / "downloads").iterdir() if path.suffix != ".lock"] == []
    assert not (machine.engine / "checkpoints").exists()


async def test_an_upload_is_only_for_whom_the_server_names_it(machine: Machine) -> None:
    """Who knows the hash of a file that another organization uploaded does not get it by that."""
    async with serving(Files()) as files:
        await machine.run(files.upload())
        known = Model("loras/stolen.safetensors", None, None, SHA256, is_upload=False)
        assert (await machine.failure(known)).code is FailureCode.MODEL_MISSING
        lie = Model("loras/stolen.safetensors", files.url.replace("/file", "/gone"), None, SHA256, is_upload=False)
        assert "404" in (await machine.failure(lie)).message
        assert not (machine.engine / "loras").exists()
        await machine.run(files.address("loras/mine.safetensors"))
        assert files.asked == 2, "that address has it, so its content is known to others"
        await machine.run(known)
    assert machine.given("loras/stolen.safetensors") == CONTENT


async def test_the_operators_file_counts_where_it_has_that_content(machine: Machine) -> None:
    (machine.own / PATH).parent.mkdir(parents=True)
    (machine.own / PATH).write_bytes(CONTENT)
    async with serving(Files()) as files:
        found = await machine.run(files.upload())
        assert (found.there, found.contents, files.asked) == ({PATH: machine.own / PATH}, {}, 0)
        await machine.run(files.upload("loras/other.safetensors"))
        assert files.asked == 0, "it has the content at another path"
    assert (machine.engine / "loras/other.safetensors").samefile(machine.own / PATH)


async def test_the_operators_file_of_another_content_is_not_taken_for_it(machine: Machine) -> None:
    (machine.own / PATH).parent.mkdir(parents=True)
    (machine.own / PATH).write_bytes(b"the operator's")
    async with serving(Files()) as files:
        await machine.run(files.upload())
    assert machine.given() == CONTENT
    assert (machine.own / PATH).read_bytes() == b"the operator's"
    lacking = await machine.failure(Model(PATH, None, None, "0" * 64))
    assert lacking.lacking and "another file of that name" in lacking.message
    plain = await machine.run(Model(PATH))
    assert plain.there == {PATH: machine.own / PATH}, "a version that names no hash takes what is there"


async def test_a_model_that_is_old_under_another_name_of_its_folder_is_found(machine: Machine) -> None:
    place = machine.own / "unet" / "a.safetensors"
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    found = await machine.run(Model("diffusion_models/a.safetensors", None, None, SHA256))
    assert list(found.there.values()) == [place]


@pytest.mark.parametrize(
    "path",
    [
        "../evil.safetensors",
        "/etc/evil.safetensors",
        "a\\..\\..\\b.safetensors",
        "",
        "C:/x",
        "checkpoints//etc/passwd",
        "checkpoints/",
        ".",
    ],
)
async def test_no_path_leads_out(machine: Machine, path: str) -> None:
    async with serving(Files()) as files:
        failure = await machine.failure(files.upload(path))
        assert files.asked == 0
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_MISSING, False)


async def test_no_path_reaches_what_is_not_a_model_of_the_operators(machine: Machine, tmp_path: Path) -> None:
    """Another's upload, or any file that the worker can read, must not become the operator's own by its address."""
    async with serving(Files()) as files:
        await machine.run(files.upload())
        kept = machine.store.folder / "models" / SHA256
        for path in (f"checkpoints/{kept}", f"checkpoints/./{kept}", f"checkpoints/../../..{kept}"):
            assert (await machine.failure(Model(path, "http://x", None, SHA256, is_upload=False))).code
        wanted = Model("checkpoints/x.safetensors", None, None, SHA256, is_upload=False)
        assert (await machine.failure(wanted)).lacking
        (tmp_path / "elsewhere.safetensors").write_bytes(CONTENT)
        await machine.own_models.known.hash(tmp_path / "elsewhere.safetensors")
        assert (await machine.failure(wanted)).lacking, (
            "what is known of a folder that is none of his counts for nothing"
        )


async def test_two_spellings_of_a_place_are_one_path(machine: Machine) -> None:
    other = os.urandom(1000)
    async with serving(Files()) as files, serving(Files(other)) as others:
        await machine.run(files.address("unet/x.safetensors"))
        sha256 = hashlib.sha256(other).hexdigest()
        second = Model("diffusion_models/./x.safetensors", others.url, None, sha256, is_upload=False)
        assert (await machine.run(second)).there == {}
        assert machine.given("diffusion_models/x.safetensors") == other
        await machine.run(files.address("unet/x.safetensors"))
    assert machine.given("diffusion_models/x.safetensors") == CONTENT
    assert not (machine.engine / "unet").exists()


async def test_a_bare_name_is_found_as_the_server_finds_it_and_never_fetched(machine: Machine) -> None:
    async with serving(Files()) as files:
        refused = await machine.failure(files.address("mine.safetensors"))
        assert "checkpoints/mine.safetensors" in refused.message and files.asked == 0
    (machine.own / PATH).parent.mkdir(parents=True)
    (machine.own / PATH).write_bytes(CONTENT)
    found = await machine.run(Model("mine.safetensors", None, None, SHA256))
    assert found.there == {"mine.safetensors": machine.own / PATH}


async def test_the_folder_that_comes_first_in_comfyui_comes_first_here(machine: Machine, tmp_path: Path) -> None:
    extra, name = tmp_path / "extra", "checkpoints/x.safetensors"
    for place, content in ((extra / "x.safetensors", b"extra"), (machine.own / name, CONTENT)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    machine.shown = (extra,)
    settings = machine.home / "comfyui" / "extra_model_paths.yaml"
    settings.write_text(f"a:\n  checkpoints: {extra}\n")
    await machine.own_models.known.hash(machine.own / name)
    async with serving(Files()) as files:
        await machine.run(files.upload(name))
        assert (files.asked, machine.given(name)) == (0, CONTENT), "the operator has the content at another place"
        machine.fetcher = machine.make()
        settings.write_text(f"a:\n  is_default: true\n  checkpoints: {extra}\n")
        failure = await machine.failure(files.upload(name))
        assert failure.lacking and "extra_model_paths.yaml" in failure.message


async def test_what_many_runs_need_at_once_is_there_for_each(machine: Machine) -> None:
    machine.store = ContentStore(machine.home / "store", is_safe=lambda: False)
    machine.fetcher = machine.make()
    async with serving(Files()) as files:
        models = [files.upload(f"loras/{number % 3}.safetensors") for number in range(12)]
        await asyncio.gather(*(machine.run(model) for model in models))
        assert files.asked == 1
    assert [machine.given(f"loras/{number}.safetensors") == CONTENT for number in range(3)] == [True] * 3


async def test_what_no_run_has_needed_for_long_is_taken_from_engines(machine: Machine) -> None:
    async with serving(Files()) as files:
        found = await machine.fetch(files.upload())
        await machine.fetcher.place(found, machine.engine)
        machine.fetcher._placer.give_up_unused(0)
        assert machine.given() == CONTENT, "a run uses it"
        await found.release()
        machine.fetcher._placer.give_up_unused(0)
        assert not (machine.engine / PATH).exists()
        assert machine.store.contents() != []


async def test_no_link_leads_out(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (machine.engine / "checkpoints").symlink_to(tmp_path / "elsewhere")
    async with serving(Files()) as files:
        failure = await machine.failure(files.upload())
    assert failure.code is FailureCode.MODEL_MISSING
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("suffix", [".ckpt", ".PT", ".pth", ".bin"])
@pytest.mark.parametrize("is_upload", [True, False])
async def test_formats_that_can_hold_code_are_the_operators_decision(
    machine: Machine, suffix: str, is_upload: bool
) -> None:
    async with serving(Files()) as files:
        path = f"checkpoints/mine{suffix}"
        model = files.upload(path) if is_upload else files.address(path)
        failure = await machine.failure(model)
        assert files.asked == 0
        machine.fetcher = machine.make(allow_pickle=True)
        await machine.run(model)
    assert "RUNFLOW_WORKER_ALLOW_PICKLE" in failure.message and failure.lacking
    assert machine.given(path) == CONTENT


async def test_an_address_in_a_private_network_is_refused_and_named(connection: Connection, tmp_path: Path) -> None:
    async with GuardedClient() as outgoing, serving(Files()) as files:
        machine = Machine(connection, tmp_path, outgoing)
        failure = await machine.failure(files.address())
        assert files.asked == 0
    assert failure.code is FailureCode.MODEL_MISSING and not failure.lacking
    assert "RUNFLOW_ALLOWED_NETWORKS" in failure.message


async def test_an_address_may_not_send_more_than_the_limit(machine: Machine) -> None:
    machine.fetcher = machine.make(most_bytes=1_000_000)
    async with serving(Files()) as files:
        failure = await machine.failure(files.address())
    assert "1000000" in failure.message
    assert machine.store.contents() == []


async def test_without_hard_links_it_is_a_copy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    async with serving(Files()) as files:
        await machine.run(files.upload())
    folder = (machine.engine / PATH).parent
    assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
    assert (folder / "mine.safetensors").read_bytes() == CONTENT


async def test_a_model_that_was_deleted_fails_the_run(machine: Machine) -> None:
    async with serving(Files()) as files:
        files.url = files.url.replace("/file", "/gone")
        failure = await machine.failure(files.upload())
    assert failure.code is FailureCode.MODEL_MISSING
    assert "404" in failure.message


async def test_what_an_engine_has_and_does_not_use_goes_with_the_content(machine: Machine) -> None:
    async with serving(Files()) as files:
        found = await machine.fetch(files.upload())
        await machine.fetcher.place(found, machine.engine)
        assert not machine.store.remove(SHA256), "a run uses it"
        await found.release()
        assert machine.store.remove(SHA256)
        assert not (machine.engine / PATH).exists()
        await machine.run(files.upload())
        assert files.asked == 2
    assert machine.given() == CONTENT


async def test_what_a_run_fetches_goes_before_what_is_fetched_beforehand(
    machine: Machine, connection: Connection
) -> None:
    slow, quick = Files(), Files(os.urandom(1000))
    asked: list[str] = []
    let_go = {"slow": asyncio.Event(), "quick": asyncio.Event()}

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        asked.append(name)
        await let_go[name].wait()
        return await (slow if name == "slow" else quick).answer(request)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with TestServer(app) as server:
        slow.url, quick.url = str(server.make_url("/slow")), str(server.make_url("/quick"))
        told: list[str] = []
        beforehand = asyncio.create_task(
            machine.fetcher.fetch(connection, [slow.address()], patience=5, tell=told.append, can_wait=True)
        )
        await until(lambda: asked == ["slow"])
        sha256 = hashlib.sha256(quick.content).hexdigest()
        run = asyncio.create_task(machine.fetch(quick.address("loras/quick.safetensors", sha256)))
        await until(lambda: f'The model "{PATH}" waits for what a run fetches.' in told)
        let_go["slow"].set()
        await until(lambda: asked[1:] == ["quick"])
        let_go["quick"].set()
        await (await run).release()
        await (await beforehand).release()
    assert asked[:2] == ["slow", "quick"] and set(asked[2:]) == {"slow"}
    assert machine.store.folder.joinpath("models", SHA256).read_bytes() == CONTENT
