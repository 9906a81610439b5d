"""`runflow comfyui check`: the report, and the command around it."""

import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from runflow.cli.comfyui import app
from runflow.worker.engine.boot import can_run_as, default_pythons
from runflow.worker.engine.check import check_folder, check_url
from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_choice import ENGINE_UID
from runflow.worker.runtime.record import read_record
from runflow.worker.settings import ENGINE_USER_AUTO, ENGINE_USER_SAME

CLI = CliRunner()


@pytest.fixture
def outline(tmp_path: Path) -> Path:
    """A folder with the outline of a ComfyUI and no Python environment."""
    for name in ("main.py", "nodes.py", "requirements.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.9.1"')
    return tmp_path


async def test_what_is_missing_is_said_with_the_next_step(outline: Path) -> None:
    report = await check_folder(outline)
    assert not report.usable
    assert report.version == "0.9.1"
    assert "no Python environment" in report.problems[0]

    (outline / ".runflow").mkdir()
    assert "not finished" in (await check_folder(outline)).problems[0]
    shutil.rmtree(outline / ".runflow")
    shutil.rmtree(outline / "comfy")
    assert "lacks comfy. Run `runflow comfyui install" in (await check_folder(outline)).problems[0]
    assert "There is no folder" in (await check_folder(outline / "nowhere")).problems[0]


async def test_nobody_at_the_address() -> None:
    report = await check_url("http://127.0.0.1:9")
    assert not report.usable
    assert "does not answer" in report.problems[0]
    assert report.problems[0].endswith("Start that ComfyUI, or correct the address.")
    assert "looks like http://127.0.0.1:8188" in (await check_url("gpu:8188")).problems[0]


def test_the_command_fails_for_what_cannot_be_used(outline: Path) -> None:
    result = CLI.invoke(app, ["check", str(outline), "--json"])
    assert result.exit_code == 1
    assert orjson.loads(result.stdout)["usable"] is False
    result = CLI.invoke(app, ["check", str(outline)])
    assert result.exit_code == 1
    assert "not usable" in result.stderr


def test_install_refuses_what_contradicts_itself(tmp_path: Path) -> None:
    result = CLI.invoke(app, ["install", str(tmp_path / "x"), "--version", "1", "--commit", "abc"])
    assert result.exit_code == 1
    assert "not both" in result.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.e2e
def test_the_real_one_is_started_and_described(comfyui_dir: Path) -> None:
    command = [sys.executable, "-m", "runflow", "comfyui", "check", str(comfyui_dir), "--json"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    report = orjson.loads(result.stdout)  # nothing else is written there, whatever is worth a line of a log
    assert report["kind"] == "owned"
    assert report["node_count"] > 100
    assert report["plugin"] is True
    assert report["lacking"] == {}
    record = read_record(comfyui_dir)
    assert record is None or report["installed"]["version"] == report["version"]


@pytest.mark.e2e
async def test_an_attached_one_lacks_what_only_its_owner_can_do(comfyui_engine: OwnedEngine) -> None:
    report = await check_url(comfyui_engine.url)
    assert report.usable
    assert {"own_folders", "kill", "local_files", "memory_limit"} == set(report.lacking)
    assert report.isolation == ()


@pytest.mark.e2e
async def test_what_holds_the_engine_is_what_would_hold_the_worker_s(
    comfyui_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object, **__: object) -> Sandbox:
        return Sandbox(Rung.NONE, why_not_better="Namespaces cannot be used: the test says so.")

    monkeypatch.setattr("runflow.worker.engine.home.probe", none)
    python = next(python for python in default_pythons(comfyui_dir) if python.exists())
    for user, rung in ((ENGINE_USER_AUTO, "user"), (ENGINE_USER_SAME, "none")):
        report = await check_folder(comfyui_dir, engine_user=user)
        assert report.problems == ()
        assert report.sandbox is not None
        assert report.sandbox.rung == (rung if can_run_as(ENGINE_UID, python, comfyui_dir) else "none")
