"""A real ComfyUI on the rungs below namespaces of our own: it boots, runs a prompt, and leaves nothing."""

import os
import shutil
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
from tests.support.hostile_installation import ENGINE_UID, copied_comfyui, use_python
from tests.worker.engine.prompts import new_id, work

pytestmark = pytest.mark.e2e

_LANDLOCK = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
_BUBBLEWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="there is no bwrap here")
_RUNGS = [
    pytest.param(Rung.LANDLOCK, False, marks=[pytest.mark.optional, _LANDLOCK]),
    pytest.param(Rung.LANDLOCK, True, marks=[pytest.mark.optional, _LANDLOCK]),
    pytest.param(Rung.BUBBLEWRAP, False, marks=[pytest.mark.optional, _BUBBLEWRAP]),
]


@pytest.mark.optional
@_LANDLOCK
async def test_each_engine_of_root_has_a_user_of_its_own_whatever_the_umask_says(
    comfyui_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    monkeypatch.setattr("runflow.worker.engine.home.probe", partial(probe, only=Rung.LANDLOCK))
    with tempfile.TemporaryDirectory(prefix="runflow-home-") as folder:
        Path(folder).chmod(0o755)
        comfyui = copied_comfyui(comfyui_dir, Path(folder) / "comfyui", None)
        use_python(comfyui / ".venv", ENGINE_UID)
        before = os.umask(0o077)
        home = EngineHome(OwnedSettings(comfyui, Path(folder) / "base", enclosed=True, network=False))
        engine = OwnedEngine(home.settings, home)
        try:
            await engine.start()
            assert home.sandbox.rung is Rung.LANDLOCK
            assert home.sandbox.users is not None, home.sandbox.why_not_better
            execution = await engine.execute(work("runflow/one"), new_id())
            assert execution.outcome is Outcome.SUCCEEDED, execution.error
            (life,) = (entry for entry in home.lives.iterdir() if entry.is_dir())
            (made, *_) = (life / "output").rglob("*.png")
            # Other engines of this machine may have some of the same users just then.
            assert made.stat().st_uid in {home.sandbox.uid(number) for number in range(home.sandbox.count)}
            assert made.stat().st_uid not in (0, home.sandbox.users)
        finally:
            os.umask(before)
            await engine.stop()
            await home.close()


@pytest.mark.parametrize(("rung", "network"), _RUNGS)
async def test_an_engine_runs_a_prompt_and_leaves_nothing(
    comfyui_dir: Path, rung: Rung, network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.worker.engine.home.probe", partial(probe, only=rung))
    with tempfile.TemporaryDirectory(prefix="runflow-home-") as folder:
        Path(folder).chmod(0o755)
        home = EngineHome(OwnedSettings(comfyui_dir, Path(folder) / "base", enclosed=True, network=network))
        engine = OwnedEngine(home.settings, home)
        try:
            description = await engine.start()
            assert description.sandbox is not None
            assert description.sandbox.rung == rung.value
            assert "that needs namespaces" in (description.sandbox.why_not_better or "")
            assert description.plugin
            assert set(home.sandbox.words()) <= set(description.isolation)
            execution = await engine.execute(work("runflow/one"), new_id())
            assert execution.outcome is Outcome.SUCCEEDED, execution.error
            (life,) = (entry for entry in home.lives.iterdir() if entry.is_dir())
            assert list((life / "output").rglob("*.png"))
            await engine.stop()
            assert list(home.lives.iterdir()) == []
        finally:
            await engine.stop()
            await home.close()
