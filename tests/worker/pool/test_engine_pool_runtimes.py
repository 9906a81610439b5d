"""Engines of runtimes beside those of the worker's own ComfyUI: who gets which, and when they go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from runflow.worker.engine.base import EngineError, EngineStartFailed
from runflow.worker.pool.engine_pool import EnginePool, GivenBack
from runflow.worker.pool.engine_supervisor import EngineState, EngineStatus, NoEngine
from runflow.worker.pool.pooled_engine import Seat
from runflow.worker.settings import Limits
from tests.support.waiting import until
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_engines import BLUE, RED, ScriptedEngines

ONE, TWO = "rt1-one", "rt1-two"


class Bench:
    """A pool whose engines say of which runtime they are."""

    def __init__(self, base: Path, *, quick: bool = True, idle_seconds: float = 3600.0) -> None:
        self.engines = ScriptedEngines(base, quick=quick)
        self.runtime_of: dict[int, str] = {}
        self.refused: dict[str, NoEngine | EngineError] = {}
        self.states: list[EngineState] = []
        self.pool = EnginePool(
            lambda: self._made(""),
            self.states.append,
            Limits(),
            find_of=self._made,
            runtime_idle_seconds=idle_seconds,
        )

    def _made(self, runtime: str) -> ScriptedEngine:
        if isinstance(refused := self.refused.get(runtime), NoEngine):
            raise refused
        engine = self.engines()
        self.runtime_of[id(engine)] = runtime
        if refused is not None:
            engine.start_error = refused
        return engine

    def whose(self, seat: Seat) -> str:
        """The runtime that a place is in an engine of."""
        return self.runtime_of[id(seat.engine)]

    async def seat(self, runtime: str, domain: str = RED) -> Seat:
        async with asyncio.timeout(30):
            return await self.pool.seat(domain, uuid4(), runtime)

    def alive(self) -> list[str]:
        """The runtimes of the engines that live."""
        return sorted(self.runtime_of[id(engine)] for engine in self.engines.alive)


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.create_task(bench.pool.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_run_gets_an_engine_of_its_runtime_and_no_other(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        own, first = await bench.seat(""), await bench.seat(ONE)
        assert [bench.whose(one) for one in (own, first)] == ["", ONE]
        again = await bench.seat(ONE)
        assert again.engine is first.engine
        bench.pool.leave(own)
        other = await bench.seat(TWO)
        assert bench.whose(other) == TWO
        bench.pool.leave(other)
        foreign = await bench.seat(ONE, BLUE)
        assert bench.whose(foreign) == ONE and foreign.engine is not first.engine


async def test_engines_that_boot_live_beside_those_of_other_runtimes_as_far_as_there_is_room(tmp_path: Path) -> None:
    async with running(Bench(tmp_path, quick=False)) as bench:
        for runtime, beside in ((ONE, ""), (TWO, ONE), ("", TWO), (ONE, "")):
            seat = await bench.seat(runtime)
            assert bench.whose(seat) == runtime
            assert set(bench.alive()) <= {runtime, beside}
            bench.pool.leave(seat)
            first = await bench.seat(runtime, BLUE)
            assert bench.alive().count(runtime) == 1, "of one runtime they boot one after the other"
            bench.pool.leave(first)
        assert EngineStatus.NO_ENGINE not in {state.status for state in bench.states}


async def test_an_engine_of_a_runtime_goes_when_nobody_uses_it_and_the_own_one_comes_back(tmp_path: Path) -> None:
    async with running(Bench(tmp_path, quick=False, idle_seconds=0.05)) as bench:
        seat = await bench.seat(ONE)
        bench.pool.leave(await bench.seat(TWO))
        # The other one's time comes while this one, which is older, has a run.
        await until(lambda: TWO not in bench.alive())
        assert ONE in bench.alive(), "one with a run is used"
        bench.pool.leave(seat)
        await until(lambda: bench.alive() == [""])
        assert bench.pool.runtimes == {""}


async def test_the_worker_stays_ready_while_an_engine_of_a_runtime_starts(tmp_path: Path) -> None:
    async with running(Bench(tmp_path, quick=False)) as bench:
        bench.pool.leave(await bench.seat(""))
        told = len(bench.states)
        bench.engines.attributes["hold_start"] = starts = asyncio.Event()
        waiting = asyncio.create_task(bench.seat(ONE))
        await until(lambda: len(bench.engines.engines) == 2)
        starts.set()
        bench.pool.leave(await waiting)
        assert bench.states[told:] == []


async def test_the_worker_stays_ready_when_an_engine_of_a_runtime_dies(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        bench.pool.leave(await bench.seat(""))
        for runtime in (ONE, TWO):
            seat = await bench.seat(runtime)
            bench.pool.leave(seat)
        assert bench.alive() == [ONE, TWO], "the own one is in their way"
        told = len(bench.states)
        clearing = asyncio.Event()
        for engine in bench.engines.alive:
            engine.hold_stop = clearing
            engine.crash()
        await until(lambda: bench.pool.lives == [])
        clearing.set()
        assert bench.whose(await bench.seat(TWO)) == TWO
        assert bench.states[told:] == []


async def test_the_own_engine_comes_back_beside_those_of_runtimes(tmp_path: Path) -> None:
    """By it the worker is asked for runs, so nothing else would end that it is down."""
    async with running(Bench(tmp_path)) as bench:
        bench.pool.leave(await bench.seat(""))
        own = bench.engines.engines[0]
        bench.engines.attributes["hold_start"] = starts = asyncio.Event()
        waiting = asyncio.create_task(bench.seat(ONE))
        await until(lambda: len(bench.engines.engines) == 2)
        own.crash()
        await until(lambda: bench.pool.state.status is EngineStatus.ENGINE_DOWN)
        starts.set()
        bench.pool.leave(await waiting)
        await until(lambda: bench.pool.state.status is EngineStatus.READY)
        assert bench.alive() == ["", ONE]


async def test_a_runtime_whose_engine_does_not_start_says_so_to_its_own_runs_only(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        own = await bench.seat("")
        bench.refused[ONE] = EngineStartFailed("It has no torch.")
        with pytest.raises(EngineStartFailed, match="no torch"):
            await bench.seat(ONE)
        assert bench.pool.state.status is EngineStatus.READY
        bench.pool.leave(own)
        bench.pool.leave(await bench.seat("", BLUE))
        bench.refused.clear()
        assert bench.whose(await bench.seat(ONE)) == ONE


async def test_a_runtime_that_was_removed_gives_its_runs_back(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        bench.refused[ONE] = NoEngine("There is no runtime.")
        with pytest.raises(GivenBack, match="no runtime"):
            await bench.seat(ONE)
        assert bench.pool.state.status is EngineStatus.READY or bench.alive() == []
