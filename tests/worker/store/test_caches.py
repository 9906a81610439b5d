"""Files of the caches of Hugging Face and torch hub: fetched by the hub's scheme, and found where libraries look."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runflow.outgoing import GuardedClient
from runflow.outgoing.urls import parse_origins
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.protocol.failures import Failure
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.engine.run_files import RunFiles
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.caches import as_model, home_files, names
from runflow.worker.store.content import ContentStore
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.models import ModelFetcher
from runflow.worker.store.own_models import OwnModels
from runflow.worker.store.views import ModelViews

TOKEN = "hf_s3cr3t"
OLD, NEW = "a" * 40, "b" * 40
CONTENTS = {name: f"the content of {name}".encode() for name in ("config.json", "unet/model.safetensors")}


def file(path: str, content: bytes, revision: str = OLD, **more: object) -> LeasedCachedFile:
    made = LeasedCachedFile(
        cache="huggingface",
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        repository="org/name",
        revision=revision,
        refs=["main"],
    )
    return replace(made, **more)  # type: ignore[arg-type]


def checkpoint(content: bytes, url: str | None = None) -> LeasedCachedFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return LeasedCachedFile(cache="torch", path="net-01234567.pth", sha256=sha256, url=url)


WEIGHTS = b"weights"
REPOSITORY = [file(path, content) for path, content in CONTENTS.items()]


class Hub:
    """A hub that asks for a token, and sends whoever has it to another host for the file itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: dict[str, list[str | None]] = {"hub": [], "files": []}
        self.url = self.files = ""

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.tokens["hub"].append(request.headers.get("Authorization"))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        raise web.HTTPFound(f"{self.files}/blob?path={request.match_info['path']}")

    async def blob(self, request: web.Request) -> web.StreamResponse:
        self.tokens["files"].append(request.headers.get("Authorization"))
        return web.Response(body=CONTENTS.get(request.query["path"], WEIGHTS))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    found = Hub()
    app, files = web.Application(), web.Application()
    app.router.add_get("/mirror/{org}/{name}/resolve/{revision}/{path:.*}", found.resolve)
    files.router.add_get("/blob", found.blob)
    async with TestServer(app) as server, TestServer(files) as other:
        found.url, found.files = str(server.make_url("/mirror")), str(other.make_url(""))
        found.files = found.files.rstrip("/")
        yield found


class Worker:
    """A worker with an engine, whose folder is `engine`."""

    def __init__(self, connection: Connection, home: Path, outgoing: GuardedClient, hub: Hub) -> None:
        self.engine = home / "engine"
        self.files = RunFiles(self.engine, uid=None)
        self.files.make()
        (self.engine / "models").mkdir()
        self.store = ContentStore(home / "store")
        self._connection, self._home, self._outgoing, self._hub = connection, home, outgoing, hub

    async def run(self, *files: LeasedCachedFile, token: str = TOKEN, allow_pickle: bool = False) -> None:
        """Do for a run's files what is done before it executes, and after."""
        (origin,) = parse_origins([self._hub.url])
        fetcher = ModelFetcher(
            self.store,
            OwnModels(self._home / "comfyui", KnownHashes(self._home / "own.jsonl"), self._folders),
            self._outgoing,
            credentials=Credentials({origin: {"Authorization": f"Bearer {token}"}}),
            allow_pickle=allow_pickle,
            most_bytes=1 << 30,
            huggingface=self._hub.url,
        )
        found = await fetcher.fetch(self._connection, [], cached=files, patience=5)
        await fetcher.place(found, self.engine / "models")
        self.files.lay_home(found.home)
        await found.release()

    async def failure(self, *files: LeasedCachedFile, **how: str) -> Failure:
        with pytest.raises(RunFailed) as ended:
            await self.run(*files, **how)  # type: ignore[arg-type]
        return ended.value.failure

    async def _folders(self) -> tuple[Path, ...]:
        return ()

    @property
    def repository(self) -> Path:
        return self.engine / "home/.cache/huggingface/hub/models--org--name"


@pytest.fixture
async def worker(connection: Connection, tmp_path: Path, hub: Hub) -> AsyncIterator[Worker]:
    async with GuardedClient("127.0.0.0/8") as outgoing:
        yield Worker(connection, tmp_path, outgoing, hub)


async def test_a_repository_is_fetched_by_its_commit_and_laid_out_as_the_library_does(worker: Worker, hub: Hub) -> None:
    await worker.run(*REPOSITORY)
    assert hub.asked == [f"/mirror/org/name/resolve/{OLD}/{path}" for path in CONTENTS]
    repository = worker.repository
    for path, content in CONTENTS.items():
        snapshot = repository / "snapshots" / OLD / path
        assert snapshot.is_symlink() and snapshot.read_bytes() == content
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        assert os.readlink(snapshot).startswith("../") and blob.read_bytes() == content  # noqa: PTH115
        assert snapshot.resolve().is_relative_to(worker.engine / "models"), "where the engine cannot write"
        stored = worker.store.folder / "models" / blob.name
        assert snapshot.stat().st_ino == stored.stat().st_ino, "one more name of the same file"
    assert (repository / "refs/main").read_text() == OLD


async def test_the_token_is_for_the_hub_and_not_for_where_it_redirects(worker: Worker, hub: Hub) -> None:
    await worker.run(*REPOSITORY)
    assert hub.tokens == {"hub": [f"Bearer {TOKEN}"] * 2, "files": [None] * 2}


async def test_what_is_there_is_not_fetched_again_and_an_engine_gets_back_what_it_threw_away(
    worker: Worker, hub: Hub
) -> None:
    await worker.run(*REPOSITORY)
    config = worker.repository / "snapshots" / OLD / "config.json"
    config.unlink()
    (worker.repository / "refs/main").unlink()
    await worker.run(*REPOSITORY)
    assert len(hub.asked) == 2 and config.is_file() and (worker.repository / "refs/main").read_text() == OLD


async def test_two_commits_of_a_repository_lie_side_by_side(worker: Worker) -> None:
    config = CONTENTS["config.json"]
    await worker.run(*REPOSITORY, file("config.json", config, NEW, refs=["next/one"]))
    assert (worker.repository / "snapshots" / NEW / "config.json").read_bytes() == config
    assert (worker.repository / "refs/main").read_text() == OLD
    assert (worker.repository / "refs/next/one").read_text() == NEW


async def test_what_the_hub_refuses_or_has_otherwise_fails_the_run_and_names_the_file(worker: Worker) -> None:
    refused = await worker.failure(*REPOSITORY, token="wrong")
    assert refused.code == "MODEL_MISSING" and '"org/name/config.json"' in refused.message
    assert "RUNFLOW_DOWNLOAD_CREDENTIALS" in refused.message
    other = replace(REPOSITORY[0], sha256="0" * 64)
    assert "SHA-256" in (await worker.failure(other)).message
    assert not worker.repository.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../../../../run.sh"},
        {"path": "/etc/passwd"},
        {"path": "a/\0"},
        {"path": "a//b"},
        {"path": "a\\..\\b"},
        {"repository": "../name"},
        {"repository": "org/na--me"},
        {"revision": "main"},
        {"refs": ["../../main"]},
    ],
)
async def test_names_that_leave_the_cache_are_refused_here_too(worker: Worker, changes: dict[str, object]) -> None:
    failure = await worker.failure(replace(REPOSITORY[0], **changes))  # type: ignore[arg-type]
    assert failure.code == "MODEL_MISSING" and "Deploy the workflow again" in failure.message
    assert sorted(path.name for path in (worker.engine / "home").iterdir()) == []


async def test_a_checkpoint_comes_from_its_address_if_the_operator_allows_code(worker: Worker, hub: Hub) -> None:
    named = checkpoint(WEIGHTS, f"{hub.files}/blob?path=net")
    failure = await worker.failure(named)
    assert failure.lacking and "RUNFLOW_WORKER_ALLOW_PICKLE" in failure.message
    await worker.run(named, allow_pickle=True)
    placed = worker.engine / "home/.cache/torch/hub/checkpoints/net-01234567.pth"
    assert placed.read_bytes() == WEIGHTS and placed.is_symlink()


async def test_an_engine_s_links_lead_nothing_of_ours_astray(worker: Worker, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    worker.repository.parent.mkdir(parents=True)
    worker.repository.symlink_to(outside)
    await worker.run(*REPOSITORY)
    assert list(outside.iterdir()) == [] and not worker.repository.is_symlink()
    main = worker.repository / "refs/main"
    main.unlink()
    main.mkdir()
    (main / "in-the-way").touch()
    worker.files.lay_home(home_files([file("more.json", b"more", NEW)]))
    assert main.read_text() == NEW


def test_the_hub_s_addresses() -> None:
    def url(one: LeasedCachedFile, endpoint: str = "https://hub.example") -> str | None:
        return as_model(one, endpoint).url

    one = file("a b/c#d.json", b"x")
    assert url(one) == f"https://hub.example/org/name/resolve/{OLD}/a%20b/c%23d.json"
    assert url(replace(one, repository_type="dataset"), "https://hub.example/x/").startswith(  # type: ignore[union-attr]
        "https://hub.example/x/datasets/org/name/resolve/"
    )
    assert url(replace(one, url="https://other.example/y")) == "https://other.example/y"
    assert url(checkpoint(b"x")) is None


def test_versions_that_would_find_different_things_do_not_agree() -> None:
    first = names(home_files([file("x", b"1")]))
    assert names(home_files([file("x", b"1"), file("y", b"2")])).items() > first.items()
    moved = names(home_files([file("x", b"1", NEW)]))
    views = ModelViews()
    domains = [views.domain_of("org", one, (), {}, {}) for one in (first, moved, first, names(HomeFiles()))]
    assert domains == ["org", "org 1", "org", "org"]
    assert {key for key in first.keys() & moved.keys() if first[key] != moved[key]} == {
        "home:.cache:huggingface:hub:models--org--name:refs:main"
    }
