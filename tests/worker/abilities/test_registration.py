"""What a worker says its engine can run: short when nothing changed, and again when a model comes."""

import asyncio
import hashlib
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runflow.protocol.abilities import ModelFile, NodePack, list_hash
from runflow.protocol.workers import PROTOCOL_VERSION, Registration
from runflow.worker.abilities.registration import Registrar, models_of_attached, no_folders, node_packs
from runflow.worker.engine.base import EngineDescription, EngineKind, SandboxFacts
from runflow.worker.server_api.connection import Connection
from runflow.worker.settings import Isolation, WorkerSettings
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.own_models import OwnModels
from tests.support.fake_server import FakeServer
from tests.worker.scripted_engine import ScriptedEngine

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    pack = tmp_path / "comfyui/custom_nodes/Pack"
    (pack / ".git").mkdir(parents=True)
    (pack / ".git/HEAD").write_text(COMMIT)
    (pack / ".git/config").write_text('[remote "origin"]\n\turl = https://example.com/pack.git\n')
    (pack.parent / "copied").mkdir()
    (pack.parent / "single.py").write_text("")
    (pack.parent / "off.disabled").mkdir()
    (pack.parent / "__pycache__").mkdir()
    (tmp_path / "comfyui/models/loras").mkdir(parents=True)
    (tmp_path / "comfyui/models/loras/a.safetensors").write_bytes(b"12")
    return WorkerSettings(
        server="http://unused",
        token="t",
        name="box",
        home=tmp_path / "home",
        comfyui_dir=tmp_path / "comfyui",
        isolation=Isolation.RUN,
    )


@pytest.fixture
async def description(engine: ScriptedEngine) -> EngineDescription:
    found = await engine.start()
    return replace(found, node_types=frozenset({"B", "A"}), version="0.30.0")


PLAIN = Registration(protocol_version=PROTOCOL_VERSION, instance=uuid.uuid4(), name="box", status="ready")
MODELS = [ModelFile(path="loras/a.safetensors", size_bytes=2)]


def test_packs_are_told_with_origin_and_commit_where_they_have_a_checkout(settings: WorkerSettings) -> None:
    assert node_packs(settings.comfyui_dir / "custom_nodes") == [
        NodePack(folder="Pack", origin="https://example.com/pack.git", commit=COMMIT),
        NodePack(folder="copied"),
        NodePack(folder="single.py"),
    ]
    assert node_packs(settings.comfyui_dir / "nowhere") == []


async def test_lists_are_named_by_their_hash_and_sent_when_the_server_wants_them(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription
) -> None:
    registrar = Registrar(settings)
    server.wants = ["node_types", "models", "brand_new"]
    await registrar.register(connection, PLAIN, description)
    first, second = server.registrations
    told = first["abilities"]
    assert first["lists"] is None
    assert (told["node_types"], told["models"]) == (list_hash(["A", "B"]), list_hash(MODELS))
    assert (told["comfyui_version"], told["places_models"], told["allows_pickle"]) == ("0.30.0", True, False)
    assert second["abilities"] == told
    assert second["lists"]["node_types"] == ["A", "B"]
    assert second["lists"]["models"] == [{"path": "loras/a.safetensors", "size_bytes": 2, "sha256": None}]
    assert second["lists"]["node_packs"] is None
    await registrar.register(connection, PLAIN, description)
    assert server.registrations[2] == first, "nothing changed, nothing is sent"


async def test_a_server_that_is_never_content_is_complained_of(
    server: FakeServer,
    connection: Connection,
    settings: WorkerSettings,
    description: EngineDescription,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.wants = ["models"]
    await Registrar(settings).register(connection, PLAIN, description)
    assert "still wants" not in capsys.readouterr().out
    server.wants = ["models"]
    server.is_content = False
    await Registrar(settings).register(connection, PLAIN, description)
    assert "still wants" in capsys.readouterr().out


async def test_without_an_engine_nothing_is_told(
    server: FakeServer, connection: Connection, settings: WorkerSettings
) -> None:
    await Registrar(settings).register(connection, PLAIN, None)
    assert (server.registrations[0]["abilities"], server.registrations[0]["sandbox"]) == (None, None)


async def test_the_sandbox_is_told_with_the_isolation_that_is_set(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription
) -> None:
    facts = SandboxFacts("namespaces", separates_files=True, fork_level=3, why_not_better=None)
    await Registrar(settings).register(connection, PLAIN, replace(description, sandbox=facts))
    assert server.registrations[0]["sandbox"] == {
        "rung": "namespaces",
        "separates_files": True,
        "isolation": "run",
        "fork_level": 3,
        "why_not_better": None,
    }


async def test_the_hash_of_a_model_is_told_as_soon_as_it_is_known(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription, tmp_path: Path
) -> None:
    own = OwnModels(settings.comfyui_dir, KnownHashes(tmp_path / "known.jsonl"), no_folders)
    registrar = Registrar(settings, own=own, look_seconds=0.01)
    await registrar.register(connection, PLAIN, description)
    reading = asyncio.create_task(own.keep_reading())
    try:
        await registrar.until_changed(asyncio.Event())
        await registrar.register(connection, PLAIN, description)
    finally:
        reading.cancel()
    known = [replace(MODELS[0], sha256=hashlib.sha256(b"12").hexdigest())]
    assert [one["abilities"]["models"] for one in server.registrations] == [list_hash(MODELS), list_hash(known)]


async def test_between_two_engines_it_can_do_what_it_could(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription
) -> None:
    facts = SandboxFacts("namespaces", separates_files=True, fork_level=3, why_not_better=None)
    registrar = Registrar(settings)
    await registrar.register(connection, PLAIN, replace(description, sandbox=facts))
    await registrar.register(connection, PLAIN, None)
    first, second = server.registrations
    assert first["abilities"] and first["sandbox"]
    assert (second["abilities"], second["sandbox"]) == (first["abilities"], first["sandbox"])


async def test_a_model_that_is_put_there_is_noticed_without_a_restart(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription
) -> None:
    registrar = Registrar(settings, look_seconds=0.01)
    await registrar.register(connection, PLAIN, description)
    waiting = asyncio.create_task(registrar.until_changed(asyncio.Event()))
    (settings.comfyui_dir / "models/loras/b.safetensors").write_bytes(b"3")
    await waiting
    server.wants = ["models"]
    await registrar.register(connection, PLAIN, description)
    assert [one["path"] for one in server.registrations[-1]["lists"]["models"]] == [
        "loras/a.safetensors",
        "loras/b.safetensors",
    ]


async def test_in_a_sandbox_the_folders_are_told_that_engines_see_now(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription, tmp_path: Path
) -> None:
    shared = tmp_path / "disk"
    (shared / "late").mkdir(parents=True)
    (shared / "late/c.safetensors").write_bytes(b"3")
    (settings.comfyui_dir / "extra_model_paths.yaml").write_text(f"a:\n  loras: {shared}\n")
    apart = replace(description, sandbox=SandboxFacts("namespaces", True, 3, None))
    seen: list[Path] = []

    async def folders() -> tuple[Path, ...]:
        return tuple(seen)

    registrar = Registrar(settings, look_seconds=0.01, folders=folders)
    server.wants = ["models"]
    await registrar.register(connection, PLAIN, apart)
    assert [one["path"] for one in server.registrations[-1]["lists"]["models"]] == ["loras/a.safetensors"]
    seen.append(shared)
    await registrar.until_changed(asyncio.Event())
    server.wants = ["models"]
    await registrar.register(connection, PLAIN, apart)
    assert [one["path"] for one in server.registrations[-1]["lists"]["models"]] == [
        "loras/a.safetensors",
        "loras/late/c.safetensors",
    ]


async def test_an_engine_that_changed_is_not_waited_out(settings: WorkerSettings) -> None:
    changed = asyncio.Event()
    changed.set()
    await Registrar(settings).until_changed(changed)


async def test_an_attached_engine_says_what_it_offers(
    server: FakeServer, connection: Connection, settings: WorkerSettings, description: EngineDescription
) -> None:
    async def folders(_: web.Request) -> web.Response:
        return web.json_response(["loras", "vae"])

    async def names(request: web.Request) -> web.Response:
        return web.json_response({"loras": ["SDXL\\a.safetensors"], "vae": []}[request.match_info["kind"]])

    app = web.Application()
    app.add_routes([web.get("/models", folders), web.get("/models/{kind}", names)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address: Any = runner.addresses[0]
    url = f"http://127.0.0.1:{address[1]}"
    try:
        assert await models_of_attached(url, {}) == [ModelFile(path="loras/SDXL/a.safetensors")]
        attached = replace(description, kind=EngineKind.ATTACHED, url=url)
        await Registrar(settings).register(connection, PLAIN, attached)
        told = server.registrations[0]["abilities"]
        assert (told["node_packs"], told["places_models"]) == (None, False)
        sandbox = server.registrations[0]["sandbox"]
        assert (sandbox["rung"], sandbox["separates_files"]) == ("none", False), "it is one process for everybody"
    finally:
        await runner.cleanup()
    assert await models_of_attached(url, {}) is None, "one that does not answer"
