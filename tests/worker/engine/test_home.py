"""The home of a worker's engines, with a real ComfyUI: what changes for engines while they live."""

import tempfile
from pathlib import Path

import pytest

from runflow.worker.engine.base import EngineCrashed
from runflow.worker.engine.boot import OwnedSettings, can_run_as, default_pythons
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_choice import ENGINE_UID

pytestmark = pytest.mark.e2e


async def test_an_engine_with_a_network_ends_when_there_are_others(comfyui_dir: Path, tmp_path: Path) -> None:
    home = EngineHome(OwnedSettings(comfyui_dir, tmp_path / "base", enclosed=True, network=None))
    home.use_network(True)
    first, second = OwnedEngine(home.settings, home), OwnedEngine(home.settings, home)
    try:
        await first.start()
        if home.sandbox.rung is not Rung.NAMESPACES:
            pytest.skip(f"there are no namespaces for us: {home.sandbox.why_not_better}")
        assert "the machine's network" in first.isolation()
        await home.settled()
        home.use_network(False)
        death = await first.wait_dead()
        assert isinstance(death, EngineCrashed)
        assert "held otherwise" in str(death)
        await first.stop()
        await second.start()
        assert "no network" in second.isolation()
    finally:
        await first.stop()
        await second.stop()
        await home.close()


async def test_an_engine_that_fills_the_disk_is_ended_and_leaves_nothing(comfyui_dir: Path, tmp_path: Path) -> None:
    settings = OwnedSettings(comfyui_dir, tmp_path / "base", enclosed=True, network=False, disk_limit_bytes=1 << 20)
    home = EngineHome(settings)
    engine = OwnedEngine(settings, home)
    try:
        await engine.start()
        if home.sandbox.rung is not Rung.NAMESPACES:
            pytest.skip(f"there are no namespaces for us: {home.sandbox.why_not_better}")
        (root,) = (
            entry for entry in home.lives.iterdir() if entry.is_dir() and (entry / "user" / "comfyui.db").exists()
        )
        (root / "output" / "large").write_bytes(bytes(4 << 20))
        death = await engine.wait_dead()
        assert "RUNFLOW_ENGINE_DISK_BYTES" in str(death)
        await engine.stop()
        assert not root.exists()
    finally:
        await engine.stop()
        await home.close()


async def test_without_namespaces_an_engine_has_a_user_of_its_own_or_nothing(
    comfyui_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object, **__: object) -> Sandbox:
        return Sandbox(Rung.NONE, why_not_better="Namespaces cannot be used: the test says so.")

    monkeypatch.setattr("runflow.worker.engine.home.probe", none)
    # Not pytest's own folder, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="runflow-home-") as folder:
        Path(folder).chmod(0o755)
        python = next(python for python in default_pythons(comfyui_dir) if python.exists())
        apart = can_run_as(ENGINE_UID, python, comfyui_dir)
        uid = ENGINE_UID if apart else None
        home = EngineHome(OwnedSettings(comfyui_dir, Path(folder) / "base", enclosed=True, uid_without=lambda: uid))
        engine = OwnedEngine(home.settings, home)
        try:
            description = await engine.start()
            assert description.sandbox is not None
            assert description.sandbox.rung == ("user" if apart else "none")
            assert not description.sandbox.separates_files
            assert "that needs namespaces" in (description.sandbox.why_not_better or "")
            assert not engine.quick
            assert any("NOT" in line for line in description.isolation)
        finally:
            await engine.stop()
            await home.close()
