"""What a worker prepares: built and told, given back where a run needs the builder, left where it is another's."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from runflow.outgoing import GuardedClient
from runflow.protocol.runtimes import BuildOrder, Builds
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.prebuilds import Prebuilds
from runflow.worker.runtime.build.builder import BuiltRuntime, RuntimeBuilder
from runflow.worker.runtimes import WorkerRuntimes
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.content import ContentStore
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.models import ModelFetcher
from runflow.worker.store.own_models import OwnModels
from tests.support.fake_server import FakeServer
from tests.support.model_host import hosting
from tests.support.small_builds import SmallPlace
from tests.support.waiting import until


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return SmallPlace(tmp_path).fill()


class HeldBuilder(RuntimeBuilder):
    """Builds for real, but each only when the test lets it."""

    def __init__(self, place: SmallPlace) -> None:
        super().__init__(place.workshop, place.builder._check)
        self.begun: list[str] = []
        self.go = asyncio.Event()

    async def ready(self, fingerprint: str, *given: Any, **more: Any) -> BuiltRuntime:
        self.begun.append(fingerprint)
        await self.go.wait()
        return await super().ready(fingerprint, *given, **more)


@dataclass
class Wanted:
    """What a lease says of a version's runtime."""

    manifest: dict[str, Any]
    prompt: dict[str, Any]
    build: BuildOrder | None
    fingerprint: str = "f"
    tracebacks: bool = True
    version_id: UUID = field(default_factory=uuid4)


def wanted(place: SmallPlace, name: str) -> Wanted:
    pack = place.pack(name)
    core = {"origin": place.comfyui.origin, "commit": place.comfyui.commit, "version": "1.2.3"}
    packs = {name: {"origin": pack.origin, "commit": pack.commit, "classes": list(pack.classes)}}
    manifest = {"environment": {"comfyui": core}, "custom_nodes": packs, "models": {}}
    return Wanted(manifest, {"1": {"class_type": name.title(), "inputs": {}}}, BuildOrder())


def order(one: Wanted, report_seconds: float = 0.05) -> dict[str, Any]:
    version = {
        "id": str(uuid4()),
        "number": 1,
        "fingerprint": one.fingerprint,
        "prompt": one.prompt,
        "interface": {"inputs": [], "outputs": []},
        "manifest": one.manifest,
        "build": {"approved": None},
    }
    return {
        "id": str(uuid4()),
        "expires_at": "2026-01-31T10:00:00+00:00",
        "report_seconds": report_seconds,
        "version": version,
    }


@pytest.fixture
def builder(place: SmallPlace) -> HeldBuilder:
    return HeldBuilder(place)


@pytest.fixture
def runtimes(place: SmallPlace, builder: HeldBuilder) -> WorkerRuntimes:
    def settings(built: Any, base: Path) -> OwnedSettings:
        return OwnedSettings(built.comfyui, base, python=built.python)

    return WorkerRuntimes(builder, place.folder / "engines", settings, builds=Builds.ON)


@contextlib.asynccontextmanager
async def preparing(
    connection: Connection, runtimes: WorkerRuntimes, models: ModelFetcher | None = None
) -> AsyncIterator[None]:
    """A worker that prepares what it is given; `models` None: no order names any."""
    free = asyncio.Event()
    fetcher = cast(ModelFetcher, models)
    prebuilds = Prebuilds(
        connection, runtimes, fetcher, may_ask=lambda: True, takes_models=lambda: True, free=free, patience=5.0
    )
    task = asyncio.create_task(prebuilds.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Models:
    """A machine's own models, its store, and what fetches into that."""

    own: Path
    store: ContentStore
    fetcher: ModelFetcher


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Models]:
    comfyui, store = tmp_path / "own", ContentStore(tmp_path / "store")
    own = comfyui / "models"
    own.mkdir(parents=True)

    async def nowhere_else() -> tuple[Path, ...]:
        return ()

    async with GuardedClient("127.0.0.0/8") as outgoing:
        found = OwnModels(comfyui, KnownHashes(tmp_path / "own.jsonl"), nowhere_else)
        fetcher = ModelFetcher(
            store, found, outgoing, credentials=Credentials(), allow_pickle=False, most_bytes=1 << 30
        )
        yield Models(own, store, fetcher)


def model(path: str, url: str, content: bytes, *, is_upload: bool) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"path": path, "url": url, "size_bytes": len(content), "sha256": sha256, "is_upload": is_upload}


async def ended(server: FakeServer) -> dict[str, Any]:
    await server.until(lambda: any(one["result"] != "building" for one in server.reports))
    return next(one for one in server.reports if one["result"] != "building")


async def test_it_is_built_and_told_on_the_way(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    async with preparing(connection, runtimes):
        server.prebuilds.put_nowait(order(wanted(place, "alpha")))
        await server.until(lambda: server.reports)
        assert (server.reports[0]["result"], server.reports[0]["step"]) == ("building", "runtime")
        assert server.reports[0]["message"].startswith("Building the runtime")
        builder.go.set()
        told = await ended(server)
    assert (told["result"], told["error"], told["built"]["succeeded"]) == ("ready", None, True)
    assert len(place.workshop.runtimes.list()) == 1


async def test_a_build_that_fails_says_why(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    builder.go.set()
    one = wanted(place, "alpha")
    one.prompt["2"] = {"class_type": "Misspelt", "inputs": {}}
    async with preparing(connection, runtimes):
        server.prebuilds.put_nowait(order(one))
        told = await ended(server)
    assert (told["result"], told["step"], told["error"]["retryable"]) == ("failed", "check", False)
    assert "Misspelt" in told["error"]["message"] and "Misspelt" in told["built"]["message"]


async def test_a_run_that_needs_a_build_goes_first(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    async with preparing(connection, runtimes):
        server.prebuilds.put_nowait(order(wanted(place, "alpha")))
        await until(lambda: builder.begun)
        run = asyncio.create_task(runtimes.ready(wanted(place, "beta"), lambda _: None))
        assert (await ended(server))["result"] == "released"
        builder.go.set()
        ready = await run
    assert builder.begun[1:] == [ready.name]
    assert [one.runtime.fingerprint for one in place.workshop.runtimes.list()] == [ready.name]


async def test_a_run_of_the_same_runtime_shares_the_build(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    one = wanted(place, "alpha")
    async with preparing(connection, runtimes):
        server.prebuilds.put_nowait(order(one))
        await until(lambda: builder.begun)
        said = asyncio.Event()
        run = asyncio.create_task(runtimes.ready(one, lambda _: said.set()))
        await said.wait()
        builder.go.set()
        assert (await ended(server))["result"] == "ready"
        assert (await run).name == builder.begun[0]


async def test_what_is_anothers_by_now_is_left_and_the_next_is_asked_for(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    first, second = order(wanted(place, "alpha")), order(wanted(place, "beta"))
    async with preparing(connection, runtimes):
        server.lost.add(first["id"])
        server.prebuilds.put_nowait(first)
        await until(lambda: builder.begun)
        server.prebuilds.put_nowait(second)
        await until(lambda: len(builder.begun) == 2)
        assert all(one["result"] == "building" for one in server.reports)


async def test_a_worker_that_leaves_gives_it_back(
    server: FakeServer, connection: Connection, place: SmallPlace, builder: HeldBuilder, runtimes: WorkerRuntimes
) -> None:
    async with preparing(connection, runtimes):
        server.prebuilds.put_nowait(order(wanted(place, "alpha"), report_seconds=3600))
        await until(lambda: builder.begun)
    assert [one["result"] for one in server.reports] == ["released"]


async def test_its_models_are_fetched_into_the_store_and_none_that_is_there(
    server: FakeServer,
    connection: Connection,
    place: SmallPlace,
    builder: HeldBuilder,
    runtimes: WorkerRuntimes,
    models: Models,
) -> None:
    uploaded, addressed, there = b"uploaded" * 1000, b"addressed" * 1000, b"there" * 1000
    (models.own / "loras").mkdir()
    (models.own / "loras/there.safetensors").write_bytes(there)
    builder.go.set()
    one = order(wanted(place, "alpha"))
    with hosting({"/b.safetensors": addressed}) as host:
        sent = server.serve("models/a", uploaded)["url"]
        one["models"] = [
            model("loras/a.safetensors", sent, uploaded, is_upload=True),
            model("loras/b.safetensors", f"{host}/b.safetensors", addressed, is_upload=False),
            model("loras/there.safetensors", f"{host}/there.safetensors", there, is_upload=False),
        ]
        async with preparing(connection, runtimes, models.fetcher):
            server.prebuilds.put_nowait(one)
            told = await ended(server)
    assert (told["result"], told["built"]["succeeded"]) == ("ready", True)
    contents = {hashlib.sha256(each).hexdigest() for each in (uploaded, addressed)}
    assert {each.sha256 for each in models.store.contents()} == contents


async def test_a_model_that_cannot_be_had_is_told_with_the_step(
    server: FakeServer, connection: Connection, place: SmallPlace, runtimes: WorkerRuntimes, models: Models
) -> None:
    one = order(wanted(place, "alpha"))
    one["version"]["build"] = None  # its own ComfyUI has everything
    with hosting({"/a.safetensors": b"another content"}) as host:
        one["models"] = [model("loras/a.safetensors", f"{host}/a.safetensors", b"the content", is_upload=False)]
        async with preparing(connection, runtimes, models.fetcher):
            server.prebuilds.put_nowait(one)
            told = await ended(server)
    assert (told["result"], told["step"], told["built"]) == ("failed", "models", None)
    assert told["error"]["code"] == "MODEL_MISSING" and "loras/a.safetensors" in told["message"]
    assert models.store.contents() == []
