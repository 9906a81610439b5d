import asyncio
from pathlib import Path

from runflow.worker.pool.engine_supervisor import EngineSupervisor
from tests.worker.scripted_engine import ScriptedEngine


def test_a_supervisor_that_has_ended_its_engine_leaves_no_task_behind(tmp_path: Path) -> None:
    async def end_it() -> int:
        supervisor = EngineSupervisor(ScriptedEngine(tmp_path), lambda: None)
        async with asyncio.timeout(60):
            assert await supervisor.until_usable()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 5, (
            "this one, the supervisor, and what waits for the engine's end, for doubts, and for how others start"
        )
        await supervisor.end()
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    loop = asyncio.new_event_loop()  # of its own: in the suite's loop other tasks come and go
    try:
        assert loop.run_until_complete(end_it()) == 1
    finally:
        loop.close()


async def test_an_engine_is_ended_while_it_starts(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path)
    engine.hold_start = asyncio.Event()
    supervisor = EngineSupervisor(engine, lambda: None)
    await asyncio.sleep(0)
    await asyncio.gather(supervisor.end(), supervisor.end())
    assert supervisor.ended and not await supervisor.until_usable()
    assert engine.log == ["start", "stop"]
