import asyncio
import uuid
from pathlib import Path

import pytest

from runflow.worker.engine.attached import AttachedEngine
from runflow.worker.pool.engine_pool import EnginePool
from runflow.worker.pool.engine_supervisor import EngineState, EngineStatus
from runflow.worker.settings import Limits
from tests.support.fake_server import FakeServer
from tests.support.platform_fixtures import free_port
from tests.support.waiting import until
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Hold, ScriptedEngine
from tests.worker.scripted_engines import RED, ScriptedEngines


async def test_who_waits_for_a_turn_hears_of_another_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that did not answer for a while may have lost what was given to it: its runs must come again."""
    monkeypatch.setattr("runflow.worker.pool.engine_supervisor._PROBE_SECONDS", 0.001)
    engine = ScriptedEngine(tmp_path)
    pool = EnginePool(lambda: engine, lambda _: None, Limits())
    heard: list[bool] = []
    running = asyncio.create_task(pool.run())
    try:
        seat = await pool.seat("domain", uuid.uuid4())
        pool.on_free = lambda: heard.append(seat.is_lost)
        engine.is_silent = True
        seat.pooled.doubt()
        await until(lambda: seat.pooled.trouble)
        assert heard == []
        engine.is_silent = False
        await until(lambda: heard)
        assert heard == [True]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_nobody_promises_to_start_a_comfyui_that_is_not_ours() -> None:
    said: asyncio.Queue[EngineState] = asyncio.Queue()
    url = f"http://127.0.0.1:{free_port()}"
    pool = EnginePool(lambda: AttachedEngine(url), said.put_nowait, Limits())
    running = asyncio.create_task(pool.run())
    try:
        async with asyncio.timeout(60):
            while "does not answer" not in ((state := await said.get()).detail or ""):
                assert state.status is EngineStatus.ENGINE_DOWN
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert state.detail is not None
    assert url in state.detail
    assert "Start that ComfyUI" in state.detail
    assert "started again" not in state.detail


async def test_while_a_crashed_engine_is_cleared_away_its_domain_gets_another(
    server: FakeServer, worker: StartWorker, tmp_path: Path
) -> None:
    on_cpu = ScriptedEngines(tmp_path, quick=True, device_type="cpu")
    on_cpu.script = hold = Hold()
    async with worker(find=on_cpu, limits=Limits(engine=3600.0)):
        first = server.offer(domain=RED)
        await hold.until_began(first)
        second = server.offer(domain=RED)
        await server.until(lambda: not server.leases)
        crashed = on_cpu.engines[0]
        crashed.hold_stop = clearing = asyncio.Event()
        crashed.crash()
        assert (await server.completion(first))["error"]["code"] == "ENGINE_CRASHED"
        await hold.until_began(second)
        hold.let_go(second)
        assert (await server.completion(second))["result"] == "succeeded"
        clearing.set()
    assert on_cpu.of(second) is on_cpu.engines[1]
