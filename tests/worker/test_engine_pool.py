import asyncio

from runflow.worker.engine.attached import AttachedEngine
from runflow.worker.engine_pool import EnginePool
from runflow.worker.engine_supervisor import EngineState, EngineStatus
from runflow.worker.settings import Limits
from tests.support.platform_fixtures import free_port


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
