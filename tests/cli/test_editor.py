"""`runflow editor` as a process, and the folder that it makes."""

import asyncio
import json
import signal
import socket
import stat
import sys
from pathlib import Path

import psutil
import pytest

from runflow.cli import editor_home
from runflow.cli.editor_home import Connection, first_page, prepare, stored_key
from runflow.plugin_install import plugin_source
from tests.cli.conftest import Command, environment
from tests.support.platform_fixtures import free_port
from tests.support.waiting import until

HERE = Connection("http://127.0.0.1:8700", "rf_live_" + "a" * 40)


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "models" / "loras").mkdir(parents=True)
    (folder / "custom_nodes" / "SomePack").mkdir(parents=True)
    return folder


def settings(base: Path) -> dict[str, object]:
    return dict(json.loads((base / "user/default/comfy.settings.json").read_text()))


def test_the_folder_has_plugin_address_key_and_a_picture(tmp_path: Path, comfyui: Path) -> None:
    base = tmp_path / "editor"
    arguments = prepare(base, comfyui, HERE)
    assert "--extra-model-paths-config" in arguments
    assert (base / "custom_nodes/ComfyUI-Runflow/__init__.py").is_file() and (base / "custom_nodes/SomePack").is_dir()
    assert settings(base)["Runflow.ApiUrl"] == HERE.url and settings(base)["Comfy.TutorialCompleted"] is True
    assert stored_key(base, HERE.url) == HERE.key and stored_key(base, "http://127.0.0.1:9999") is None
    keys = base / "user/__runflow/keys.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert HERE.key not in json.dumps(settings(base)) + repr(HERE)
    assert (base / "input/example.png").is_file()


def test_what_a_person_set_stays(tmp_path: Path, comfyui: Path) -> None:
    base = tmp_path / "editor"
    prepare(base, comfyui, None)
    assert editor_home.URL_SETTING not in settings(base) and stored_key(base, HERE.url) is None
    file = base / "user/default/comfy.settings.json"
    file.write_text(json.dumps({"Comfy.TutorialCompleted": False, "Runflow.ApiUrl": "https://runflow.example.com"}))
    prepare(base, comfyui, HERE)
    assert settings(base)["Runflow.ApiUrl"] == "https://runflow.example.com" and stored_key(base, HERE.url) is None
    assert settings(base)["Comfy.TutorialCompleted"] is False
    file.write_text(json.dumps({"Runflow.ApiUrl": "http://localhost:8700"}))
    moved = Connection("http://127.0.0.1:8701", HERE.key)
    prepare(base, comfyui, moved)
    assert settings(base)["Runflow.ApiUrl"] == moved.url, "the server of this machine has another port now"


def test_settings_that_cannot_be_read_are_kept_aside(tmp_path: Path, comfyui: Path) -> None:
    base = tmp_path / "editor"
    prepare(base, comfyui, HERE)
    file = base / "user/default/comfy.settings.json"
    file.write_text('{"Comfy.Workflow": 1, ')  # as a full disk leaves it
    prepare(base, comfyui, HERE)
    assert settings(base)["Runflow.ApiUrl"] == HERE.url
    assert file.with_name("comfy.settings.json.broken").read_text() == '{"Comfy.Workflow": 1, '


COMFYUI = """
import http.server, os, pathlib, sys
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), None).serve_forever()
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_comfyui_ends_with_the_command_also_when_the_terminal_is_closed(
    tmp_path: Path, comfyui: Path, number: signal.Signals
) -> None:
    (comfyui / "main.py").write_text(COMFYUI)
    python = comfyui / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    variables = environment(tmp_path, RUNFLOW_COMFYUI=str(comfyui))
    with (tmp_path / "err").open("wb") as err:
        command = [sys.executable, "-m", "runflow", "editor", "--no-browser", "--port", str(free_port())]
        process = await asyncio.create_subprocess_exec(*command, env=variables, stderr=err)
    await until(lambda: b"Ctrl-C" in (tmp_path / "err").read_bytes() or process.returncode is not None)
    engine = psutil.Process(int((comfyui / "pid").read_text()))
    process.send_signal(number)
    assert await process.wait() == 0, (tmp_path / "err").read_text()
    assert not engine.is_running()


def test_the_sample_is_opened_once(tmp_path: Path, comfyui: Path) -> None:
    base = tmp_path / "editor"
    prepare(base, comfyui, None)
    assert first_page(base) == "/?template=dream-photo&source=ComfyUI-Runflow"
    assert first_page(base) == "/"
    assert (plugin_source() / "example_workflows" / f"{editor_home.SAMPLE}.json").is_file()


async def test_what_is_missing_is_said(runflow: Command, tmp_path: Path) -> None:
    said = await runflow("editor", "--no-browser", RUNFLOW_COMFYUI=str(tmp_path / "nothing"))
    assert said.code == 1 and "runflow comfyui install" in said.words


async def test_a_port_in_use_is_said(runflow: Command, tmp_path: Path, comfyui: Path) -> None:
    (comfyui / "main.py").touch()
    python = comfyui / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await asyncio.wait_for(runflow("editor", "--port", port, RUNFLOW_COMFYUI=str(comfyui)), 120)
    assert said.code == 1 and f"Port {port} is in use" in said.words
