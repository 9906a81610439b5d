"""What a run waits for on its worker: told apart, and never by how long the test took."""

import asyncio
import time
from pathlib import Path

import pytest

from runflow.worker.attempts import waits
from runflow.worker.attempts.waits import Waits
from runflow.worker.settings import Limits
from tests.support.fake_server import FakeServer
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Hold, ScriptedEngine
from tests.worker.scripted_engines import BLUE, RED, ScriptedEngines, succeed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waits, "time", clock)
    return clock


@pytest.fixture
def engines(tmp_path: Path) -> ScriptedEngines:
    return ScriptedEngines(tmp_path)


def test_each_kind_adds_up_also_where_it_fails(clock: Clock) -> None:
    run = Waits()
    for seconds in (1.0, 0.5):
        with run.for_models():
            clock.now += seconds
    with pytest.raises(OSError, match="full"), run.for_runtime():
        clock.now += 7
        raise OSError("full")
    clock.now += 100
    assert run.told() == {"runtime_ms": 7000, "model_ms": 1500, "engine_ms": 0}


async def test_a_run_waits_for_its_engine_while_that_starts(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines
) -> None:
    async with worker(find=engines, limits=Limits(hold=3600.0)):
        first = await succeed(server, RED)
        again = await succeed(server, RED)
        engines.attributes["hold_start"] = boots = asyncio.Event()
        waiting = server.offer(domain=BLUE)
        await server.until(lambda: len(engines.engines) == 2 and engines.engines[1].log == ["start"])
        began = time.perf_counter()
        await server.until(lambda: time.perf_counter() - began > 0.02)
        boots.set()
        timings = (await server.completion(waiting))["timings"]
    assert timings["engine_ms"] >= 20
    assert timings["model_ms"] == timings["runtime_ms"] == 0
    assert [server.completions[one]["timings"]["engine_ms"] for one in (first, again)] == [0, 0], "it was there"


async def test_standing_behind_another_run_is_not_waiting_for_an_engine(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines
) -> None:
    """Neither in a ready engine nor before an engine that cannot be started beside it."""
    engines.script = hold = Hold()
    async with worker(find=engines, limits=Limits(hold=3600.0)):
        first = server.offer(domain=RED)
        await hold.until_began(first)
        second = server.offer(domain=RED)
        hold.let_go(second)
        await server.until(lambda: not server.leases)
        hold.let_go(first)
        timings = [(await server.completion(lease_id))["timings"] for lease_id in (first, second)]
    assert [one["engine_ms"] for one in timings] == [0, 0]


async def test_fetching_a_model_is_waiting_for_models(
    server: FakeServer, worker: StartWorker, engines: ScriptedEngines, tmp_path: Path
) -> None:
    engines.attributes["model_folders"] = (tmp_path / "own", tmp_path / "comfyui" / "models")
    model = {"path": "loras/a.safetensors", **server.serve("a.safetensors", b"weights")}
    async with worker(find=engines):
        server.hold_downloads = asyncio.Event()
        lease_id = server.offer(domain=RED, models=[model])
        await server.until(lambda: "get" in server.log)
        began = time.perf_counter()
        await server.until(lambda: time.perf_counter() - began > 0.02)
        server.hold_downloads.set()
        timings = (await server.completion(lease_id))["timings"]
    assert timings["prepare_ms"] >= timings["model_ms"] - 1 and timings["model_ms"] >= 20
    assert timings["engine_ms"] == timings["runtime_ms"] == 0


async def test_loads_are_taken_out_of_the_execution_and_told_by_node(
    server: FakeServer, worker: StartWorker, engine: ScriptedEngine
) -> None:
    async with worker():
        plain = await server.completion(server.offer())
        engine.loads = {"1": 3.0}
        loaded = await server.completion(server.offer())
    assert (plain["timings"]["load_ms"], plain["timings"]["execute_ms"]) == (0, 4)
    assert [node["load_ms"] for node in plain["nodes"]] == [None, None], "nobody measured it"
    assert (loaded["timings"]["load_ms"], loaded["timings"]["execute_ms"]) == (3, 1)
    assert {node["node_id"]: node["load_ms"] for node in loaded["nodes"]}["9"] == 0
