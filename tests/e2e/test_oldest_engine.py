"""The oldest ComfyUI that is supported, as an engine: sandboxed, forked, and able to run a prompt."""

import uuid
from pathlib import Path

import pytest

from runflow.worker.engine.base import OutputRef
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung
from runflow.worker.engine.owned import OwnedEngine
from tests.support.e2e_prompts import node
from tests.support.oldest_comfyui import OLDEST

pytestmark = pytest.mark.e2e


async def test_its_engines_are_forked_and_run_prompts(oldest_comfyui_dir: Path, tmp_path: Path) -> None:
    home = EngineHome(OwnedSettings(oldest_comfyui_dir, tmp_path / "base", enclosed=True, network=False))
    await home.open()
    engines: list[OwnedEngine] = []
    try:
        if home.sandbox.rung is not Rung.NAMESPACES:
            pytest.skip(f"engines are forked in namespaces: {home.sandbox.why_not_better}")
        for is_last in (False, True):
            engine = OwnedEngine(home.settings, home)
            engines.append(engine)
            await engine.start()
            assert (await engine.describe()).version == OLDEST
            assert engine.quick or not is_last
            await home.settled()
            assert (home.forks.level, home.forks.why_not_better) == (3, None)
            prompt = {
                "1": node("EmptyImage", width=8, height=8, batch_size=1, color=7),
                "2": node("SaveImage", images=["1", 0], filename_prefix="run/picture"),
            }
            execution = await engine.execute(prompt, str(uuid.uuid4()))
            assert execution.outcome is Outcome.SUCCEEDED, execution.error
            (told,) = execution.outputs["2"]["images"]
            with await engine.open_output(OutputRef(told["filename"], told["subfolder"], "output"), tmp_path) as opened:
                assert opened.size_bytes > 0
    finally:
        for engine in engines:
            await engine.stop()
        await home.close()
