import asyncio
from pathlib import Path

from runflow.worker.engine.attached import AttachedEngine
from runflow.worker.engine_supervisor import EngineState, EngineStatus, EngineSupervisor
from tests.support.platform_fixtures import free_port
from tests.worker.scripted_engine import ScriptedEngine


async def test_nobody_promises_to_start_a_comfyui_that_is_not_ours() -> None:
    said: asyncio.Queue[EngineState] = asyncio.Queue()
    url = f"http://127.0.0.1:{free_port()}"
    supervisor = EngineSupervisor(lambda: AttachedEngine(url), said.put_nowait)
    running = asyncio.create_task(supervisor.run())
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


def test_a_supervisor_that_is_cancelled_leaves_no_task_behind(tmp_path: Path) -> None:
    async def cancel_it() -> int:
        supervisor = EngineSupervisor(lambda: ScriptedEngine(tmp_path), lambda _state: None)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(60):
            await supervisor.ready()
        assert len(asyncio.all_tasks()) == 4, (
            "this one, the supervisor, and what waits for the engine's end and for doubts"
        )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    loop = asyncio.new_event_loop()  # of its own: in the suite's loop other tasks come and go
    try:
        assert loop.run_until_complete(cancel_it()) == 1
    finally:
        loop.close()
