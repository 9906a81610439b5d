"""A real ComfyUI where engines are held by Landlock: it boots, runs a prompt, and leaves nothing."""

import tempfile
from functools import partial
from pathlib import Path

import pytest

from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.rungs import Rung
from runflow.worker.engine.owned import OwnedEngine
from tests.worker.engine.prompts import new_id, work

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock"),
]


@pytest.mark.parametrize("network", [False, True])
async def test_an_engine_runs_a_prompt_and_leaves_nothing(
    comfyui_dir: Path, network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.worker.engine.home.probe", partial(probe, only=Rung.LANDLOCK))
    with tempfile.TemporaryDirectory(prefix="runflow-home-") as folder:
        Path(folder).chmod(0o755)
        home = EngineHome(OwnedSettings(comfyui_dir, Path(folder) / "base", enclosed=True, network=network))
        engine = OwnedEngine(home.settings, home)
        try:
            description = await engine.start()
            assert description.sandbox is not None
            assert description.sandbox.rung == "landlock"
            assert "that needs namespaces" in (description.sandbox.why_not_better or "")
            assert description.plugin
            assert any("files of the machine" in line for line in description.isolation)
            execution = await engine.execute(work("runflow/one"), new_id())
            assert execution.outcome is Outcome.SUCCEEDED, execution.error
            (life,) = (entry for entry in home.lives.iterdir() if entry.is_dir())
            assert list((life / "output").rglob("*.png"))
            await engine.stop()
            assert list(home.lives.iterdir()) == []
        finally:
            await engine.stop()
            await home.close()
