"""Two organizations on one worker with a real ComfyUI: each gets a process of its own."""

from pathlib import Path

import pytest

from runflow.worker.engine.base import Engine
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_choice import EngineFinder
from runflow.worker.settings import WorkerSettings
from tests.support.fake_server import TOKEN, FakeServer
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engines import BLUE, RED, succeed

pytestmark = pytest.mark.e2e


async def test_two_organizations_get_two_processes_and_their_pictures(
    server: FakeServer, worker: StartWorker, comfyui_dir: Path, tmp_path: Path
) -> None:
    find_one = EngineFinder(WorkerSettings(server.url, TOKEN, "box-1", tmp_path / "worker", comfyui_dir))
    engines: list[OwnedEngine] = []

    def find() -> Engine:
        engine = find_one()
        assert isinstance(engine, OwnedEngine)
        engines.append(engine)
        return engine

    def processes() -> set[int]:
        return {engine.pid for engine in engines if engine.pid is not None}

    try:
        async with worker(find=find, comfyui_dir=comfyui_dir):
            runs = [await succeed(server, RED)]
            of_red = processes()
            runs.append(await succeed(server, RED))
            assert processes() == of_red, "one organization keeps its process"
            runs.append(await succeed(server, BLUE))
            of_blue = processes() - of_red
            known = await engines[-1].settled()
            await server.until(lambda: server.registrations[-1]["sandbox"]["fork_level"] == known.fork_level)
            assert server.registrations[-1]["sandbox"]["why_not_better"] == known.why_not_better
    finally:
        await find_one.close()
    assert (len(of_red), len(of_blue)) == (1, 1)
    done = [server.completions[lease_id] for lease_id in runs]
    assert [one["timings"]["cold_start"] for one in done] == [True, False, True]
    assert all(one["timings"]["peak_memory_bytes"] > 50 * 1024**2 for one in done), "measured inside the engine"
    assert all(len(one["outputs"]) == 1 for one in done)
    assert processes() == set()
