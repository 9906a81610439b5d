import os
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.engine.attached import AttachedEngine
from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_choice import EngineFinder
from runflow.worker.pool.engine_supervisor import NoEngine
from runflow.worker.settings import ENGINE_USER_SAME, EngineNetwork, WorkerSettings


def settings(tmp_path: Path, **changes: Any) -> WorkerSettings:
    values: dict[str, Any] = {
        "server": "http://x",
        "token": "rf_work_x",
        "name": "box",
        "home": tmp_path / "worker",
        "comfyui_dir": tmp_path / "comfyui",
        "engine_user": ENGINE_USER_SAME,
    }
    return WorkerSettings(**{**values, **changes})


def test_a_missing_comfyui_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="runflow comfyui install"):
        EngineFinder(settings(tmp_path))()


def install(tmp_path: Path) -> None:
    python = tmp_path / "comfyui" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "comfyui" / "main.py").touch()


def test_an_installed_comfyui_is_an_owned_engine_with_a_base_folder_of_the_worker(tmp_path: Path) -> None:
    install(tmp_path)
    engine = EngineFinder(settings(tmp_path))()
    assert isinstance(engine, OwnedEngine)
    assert engine.base_dir == tmp_path / "worker" / "engine"
    assert engine.settings.uid is None


def test_an_engine_reads_the_folders_of_models_that_its_comfyui_names(tmp_path: Path) -> None:
    install(tmp_path)
    shared = tmp_path / "disk" / "loras"
    shared.mkdir(parents=True)
    settings_file = tmp_path / "comfyui" / "extra_model_paths.yaml"
    settings_file.write_text(f"a:\n  loras: {shared}\n  vae: {tmp_path}/nowhere\n")
    engine = EngineFinder(settings(tmp_path))()
    assert isinstance(engine, OwnedEngine)
    assert engine.settings.more_folders() == (shared,)
    (tmp_path / "nowhere").mkdir()
    assert engine.settings.more_folders() == (shared, tmp_path / "nowhere"), "what comes later is seen by later ones"


async def test_engines_that_do_not_see_a_new_folder_of_models_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    shared = tmp_path / "disk"
    (tmp_path / "comfyui" / "extra_model_paths.yaml").write_text(f"a:\n  loras: {shared}\n")

    async def found(*_: Any, **__: Any) -> Sandbox:
        return Sandbox(Rung.LANDLOCK)

    monkeypatch.setattr("runflow.worker.engine.home.probe", found)
    finder = EngineFinder(settings(tmp_path, engine_network=EngineNetwork.OFF))
    assert await finder.model_folders() == ()
    engine = finder()
    assert isinstance(engine, OwnedEngine)
    home = engine._home
    try:
        await home.open()
        changed = home.changed
        assert (await finder.model_folders(), changed.is_set(), home.runtime.more.count(shared)) == ((), False, 0)
        shared.mkdir()
        assert await finder.model_folders() == (shared,)
        assert changed.is_set() and not home.changed.is_set()
        assert shared in home.runtime.more
    finally:
        await finder.close()


@pytest.mark.parametrize(
    ("rung", "uid", "is_so"),
    [
        (Rung.NAMESPACES, None, True),
        (Rung.LANDLOCK, None, True),
        (Rung.USER, os.geteuid() + 1, True),
        (Rung.NONE, os.geteuid(), False),
        (Rung.NONE, None, False),
    ],
)
def test_it_is_known_whether_an_engine_may_write_to_its_models(
    tmp_path: Path, rung: Rung, uid: int | None, is_so: bool
) -> None:
    install(tmp_path)
    finder = EngineFinder(settings(tmp_path))
    assert not finder.only_we_write(), "nobody knows yet"
    engine = finder()
    assert isinstance(engine, OwnedEngine)
    engine._home.sandbox, engine._home.uid = Sandbox(rung), uid
    assert finder.only_we_write() is is_so


def test_a_url_wins_and_is_an_attached_engine(tmp_path: Path) -> None:
    engine = EngineFinder(settings(tmp_path, comfyui_url="http://127.0.0.1:8188/"))()
    assert isinstance(engine, AttachedEngine)


def test_credentials_in_the_url_are_refused_without_repeating_them(tmp_path: Path) -> None:
    with pytest.raises(NoEngine) as refusal:
        EngineFinder(settings(tmp_path, comfyui_url="http://me:hunter2@host:8188"))()
    assert "RUNFLOW_COMFYUI_PASSWORD" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_what_a_killed_worker_left_of_runs_is_removed_and_nothing_else(tmp_path: Path) -> None:
    base = tmp_path / "worker" / "engine"
    for name in ("input", "output", "temp"):
        (base / name / "runflow" / "lease").mkdir(parents=True)
        (base / name / "mine.png").touch()
    EngineFinder(settings(tmp_path)).clear_leftovers()
    assert sorted(path.name for path in base.rglob("*") if path.is_file()) == ["mine.png"] * 3
    assert not list(base.rglob("lease"))
