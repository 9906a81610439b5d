"""A run whose engine goes before its prompt is in it loses nothing but time, and is told of once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from runflow.worker.engine.base import EngineError
from runflow.worker.settings import Limits
from tests.support.fake_server import FakeServer, image_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import ScriptedEngine, png
from tests.worker.scripted_engines import BLUE, RED, ScriptedEngines, succeed


@pytest.fixture
def on_gpu(tmp_path: Path) -> ScriptedEngines:
    return ScriptedEngines(tmp_path, quick=True)


@pytest.fixture
def quick_beats(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.lease_seconds = 1
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 0.01)


def at_its_begin(engine: ScriptedEngine) -> None:
    engine.on_begin = engine.crash


def when_its_file_is_there(engine: ScriptedEngine) -> None:
    engine.on_placed = engine.crash


@pytest.mark.parametrize("dies", [at_its_begin, when_its_file_is_there])
@pytest.mark.parametrize("clearing_takes", [False, True], ids=["gone at once", "cleared away slowly"])
async def test_a_run_goes_to_the_next_engine(
    server: FakeServer,
    worker: StartWorker,
    on_gpu: ScriptedEngines,
    dies: Callable[[ScriptedEngine], None],
    clearing_takes: bool,
) -> None:
    async with worker(find=on_gpu):
        await succeed(server, RED)
        first = on_gpu.engines[0]
        dies(first)
        first.hold_stop = asyncio.Event() if clearing_takes else None
        lease_id = server.offer(domain=RED, **image_lease(server, png()))
        await server.until(lambda: not first.alive)
        if first.hold_stop is not None:
            await server.until(lambda: first.log[-1] == "stop")
            first.hold_stop.set()
        done = await server.completion(lease_id)
        assert (done["result"], done["error"]) == ("succeeded", None)
    assert on_gpu.of(lease_id) is on_gpu.engines[1]
    assert server.completion_requests[lease_id] == 1
    assert on_gpu.engines[1].begun == [f"runflow/{lease_id}"]


async def test_engines_that_die_one_after_the_other_give_the_run_back(
    server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
) -> None:
    def find() -> ScriptedEngine:
        engine = on_gpu()
        at_its_begin(engine)
        return engine

    async with worker(find=find):
        assert (await server.completion(server.offer()))["result"] == "released"
    assert len(on_gpu.engines) >= 3


async def test_an_engine_that_lives_and_refuses_a_file_fails_the_run(
    server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines
) -> None:
    def refuse() -> None:
        raise EngineError("The engine's input folder is no folder any more.")

    async with worker(find=on_gpu):
        await succeed(server, RED)
        on_gpu.engines[0].on_placed = refuse
        done = await server.completion(server.offer(domain=RED, **image_lease(server, png())))
        assert (done["result"], done["error"]["stage"]) == ("failed", "prepare")
        await succeed(server, RED)
    assert on_gpu.started == 1


async def test_no_more_are_asked_for_behind_a_run_that_blocks_and_again_when_it_has_gone(
    server: FakeServer, worker: StartWorker, on_gpu: ScriptedEngines, quick_beats: None
) -> None:
    """RED's run has a place and gets no turn; BLUE's cannot execute beside it and goes back."""
    async with worker(find=on_gpu, limits=Limits(hold=0.05)):
        await succeed(server, RED)
        red = on_gpu.engines[0]
        red.hold_place = asyncio.Event()
        blocking = server.offer(domain=RED, **image_lease(server, png()))
        await server.until(lambda: red.placing)
        assert (await server.completion(server.offer(domain=BLUE)))["result"] == "released"
        server.offer(domain=BLUE)  # for an ask that may have been on its way
        await server.until(lambda: server.polls == 0)
        server.cancel.add(blocking)
        assert (await server.completion(blocking))["result"] == "cancelled"
        await succeed(server, BLUE)
