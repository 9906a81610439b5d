"""Nobody waits for another run's files: an engine is taken when they are here."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.concurrency import SLOW_LIMIT, UNFINISHED_LIMIT
from runflow.worker.engine.base import SandboxFacts
from runflow.worker.settings import Limits
from tests.support.fake_server import FakeServer, image_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import png
from tests.worker.scripted_engines import BLUE, RED, ScriptedEngines, succeed


@pytest.fixture(params=[False, True], ids=["boots", "starts quickly"])
def engines(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngines:
    monkeypatch.setattr("runflow.worker.attempts.preparation.SLOW_SECONDS", 0.01)
    return ScriptedEngines(tmp_path, quick=request.param)


def endless(server: FakeServer, name: str = "endless.png") -> dict[str, Any]:
    """A lease whose picture never comes to its end."""
    lease = image_lease(server, b"")
    server.endless.add(name)
    return {**lease, "files": {each: server.serve(name, b"", size_bytes=1 << 30) for each in lease["files"]}}


def staged(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "worker" / "staging").glob("*")}


async def test_runs_of_others_succeed_while_inputs_never_end(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    server.lease_seconds = 1
    async with worker(find=engines):
        slow = [server.offer(domain=RED, **endless(server)) for _ in range(3)]
        await server.until(lambda: staged(tmp_path) == set(slow))
        for _ in range(3):
            await succeed(server, BLUE, **image_lease(server, png()))
        assert engines.started == 1, "no engine is started for a run whose files are not here"
        assert not server.completions.keys() & set(slow)
        server.cancel.update(slow)
        for lease_id in slow:
            assert (await server.completion(lease_id))["result"] == "cancelled"
        await server.until(lambda: not staged(tmp_path))
    assert not any(lease_id in engine.prompts for engine in engines.engines for lease_id in slow)


async def test_more_leases_than_a_worker_may_hold_do_not_stop_it(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain with most of them gives back, and what is not told of its runs is nothing."""
    async with worker(find=engines, limits=Limits(hold=0.01)):
        other = server.offer(domain=BLUE, **endless(server))
        slow = [server.offer(domain=RED, **endless(server)) for _ in range(UNFINISHED_LIMIT + 3)]
        await server.until(lambda: len(server.completions) == 4)
        assert not server.leases
        assert {server.completions[lease_id]["result"] for lease_id in server.completions} == {"released"}
        assert other not in server.completions and slow[0] not in server.completions
        await succeed(server, BLUE)


async def test_of_many_domains_with_one_run_each_the_newest_is_given_back(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines
) -> None:
    """The others are nearer their end: in the order of their domains each would begin anew for ever."""
    async with worker(find=engines):
        slow = [server.offer(domain=str(uuid.uuid4()), **endless(server)) for _ in range(SLOW_LIMIT + 2)]
        await server.until(lambda: len(server.completions) == 2)
        assert set(server.completions) == set(slow[SLOW_LIMIT:])


async def test_what_was_given_back_for_want_of_a_place_is_not_taken_again_and_others_go_on(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines
) -> None:
    server.lease_seconds = 1
    server.offers_again = True
    async with worker(find=engines, limits=Limits(hold=3600.0)):
        for _ in range(SLOW_LIMIT + 2):
            server.offer(domain=RED, **endless(server))

        def held() -> list[str]:
            return [lease_id for lease_id in server.given if lease_id not in server.completions]

        await server.until(lambda: len(held()) == SLOW_LIMIT and server.asked[-1]["without"] == [RED])
        released = len(server.completions)
        for _ in range(3):
            await succeed(server, BLUE)
        assert len(server.completions) == released + 3
        server.cancel.add(cancelled := held()[0])
        assert (await server.completion(cancelled))["result"] == "cancelled"
        await server.until(lambda: len(held()) == SLOW_LIMIT)
        assert {each["without"][0] for each in server.asked if each["without"]} == {RED}


async def test_models_come_before_an_engine_is_taken(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    engines.attributes["model_folders"] = (tmp_path / "own", tmp_path / "comfyui" / "models")
    model = {"path": "loras/huge.safetensors", **server.serve("huge.safetensors", b"", size_bytes=1 << 30)}
    server.endless.add("huge.safetensors")
    async with worker(find=engines):
        await succeed(server, BLUE)
        slow = server.offer(domain=RED, models=[model])
        await server.until(lambda: "get" in server.log)
        await succeed(server, BLUE)
        assert (engines.started, slow in server.completions) == (1, False)


async def test_what_comfyui_has_is_not_fetched(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    own = tmp_path / "comfyui" / "models"
    engines.attributes["model_folders"] = (tmp_path / "own", own)
    (own / "checkpoints").mkdir(parents=True)
    (own / "checkpoints" / "put.ckpt").write_bytes(b"weights")
    model = {"path": "checkpoints/put.ckpt", **server.serve("put.ckpt", b"weights")}
    async with worker(find=engines):
        await succeed(server, RED, models=[model])
    assert "get" not in server.log


async def test_a_model_in_the_folder_of_one_engine_alone_comes_before_the_next_is_taken(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    engines.attributes["model_folders"] = (own, tmp_path / "comfyui" / "models")
    engines.attributes["facts"] = SandboxFacts("namespaces", True, None, None)
    (own / "loras").mkdir(parents=True)
    (own / "loras" / "left.safetensors").write_bytes(b"weights")
    model = {"path": "loras/left.safetensors", **server.serve("left.safetensors", b"weights")}
    async with worker(find=engines):
        engines.engines[0].hold_settled.set()
        await server.until(lambda: server.registrations[-1]["sandbox"])
        await succeed(server, RED, models=[model])
    assert server.log.count("get") == 1


async def test_a_file_is_fetched_once_however_many_engines_end_before_its_run(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    async with worker(find=engines):
        await succeed(server, RED)
        first = engines.engines[0]
        first.hold_place = placing = asyncio.Event()
        lease_id = server.offer(domain=RED, **image_lease(server, png()))
        await server.until(lambda: first.placing)
        first.crash()
        placing.set()
        assert (await server.completion(lease_id))["result"] == "succeeded"
    assert server.log.count("get") == 1
    assert list(engines.of(lease_id).inputs.values()) == [png()]


async def test_a_worker_that_starts_removes_what_an_earlier_one_has_fetched(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    left = tmp_path / "worker" / "staging" / "lease" / "0-photo.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(png())
    async with worker(find=engines):
        await succeed(server, RED)
        assert not left.parent.exists()


async def test_versions_whose_caches_differ_have_engines_of_their_own(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    """What `main` stands for is one thing for as long as an engine lives."""
    engines.attributes["model_folders"] = (tmp_path / "own", tmp_path / "comfyui" / "models")
    served = server.serve("config.json", b"{}")
    file = {"cache": "huggingface", "path": "config.json", "url": served["url"], "is_upload": True, "refs": ["main"]}
    file |= {"sha256": served["sha256"], "size_bytes": served["size_bytes"], "repository": "org/name"}
    async with worker(find=engines):
        rows = [{**file, "revision": commit * 40} for commit in "aab"]
        runs = [await succeed(server, RED, cached=[row], tracebacks=True) for row in rows]
    first, again, other = (engines.of(run) for run in runs)
    assert first is again is not other
    told = [[*home.texts.values()] for home in (*first.homes, *other.homes)]
    assert told == [["a" * 40], ["a" * 40], ["b" * 40]]
