"""`runflow editor` as a process, and the folder that it makes."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runflow.cli import editor_home
from runflow.cli.editor_home import Connection, first_page, prepare, stored_key
from runflow.plugin_install import plugin_source
from tests.cli.conftest import Command, environment
from tests.support.http_server import QuietHandler, serving
from tests.support.platform_fixtures import free_port, until

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


def test_a_server_that_was_chosen_in_settings_is_known(tmp_path: Path, comfyui: Path) -> None:
    base = tmp_path / "editor"
    assert editor_home.chosen_server(base, HERE.url) is None
    own = Connection("http://192.168.1.5:8700", HERE.key)
    prepare(base, comfyui, own)
    assert settings(base)["Runflow.ApiUrl"] == own.url and editor_home.chosen_server(base, own.url) is None
    moved = Connection("http://192.168.1.5:8701", "rf_live_" + "b" * 40)
    prepare(base, comfyui, moved)
    assert settings(base)["Runflow.ApiUrl"] == moved.url and stored_key(base, moved.url) == moved.key
    assert editor_home.chosen_server(base, HERE.url) == moved.url
    (base / "user/default/comfy.settings.json").write_text('{"Runflow.ApiUrl": "http://[broken"}')
    assert editor_home.chosen_server(base, HERE.url) == "http://[broken"


class FakeComfyUI:
    """A program at the place of ComfyUI, which listens at the port and does nothing else."""

    def __init__(self, folder: Path, home: Path, **more: str) -> None:
        (folder / "main.py").write_text(FAKE)
        python = folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        self.port, self.said, self.pid_file = free_port(), home.parent / "said", folder / "pid"
        self.seen = folder / "environment.json"
        self.environment = environment(home.parent, RUNFLOW_COMFYUI=str(folder), RUNFLOW_HOME=str(home), **more)

    @contextmanager
    def opened(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the command until it has said all."""
        command = [sys.executable, "-m", "runflow", "editor", "--no-browser", "--port", str(self.port)]
        with self.said.open("wb") as said:
            process = subprocess.Popen(command, env=self.environment, stdout=said, stderr=said)
        try:
            until(lambda: "Ctrl-C" in self.said.read_text(), f"the editor; see {self.said}", 60)
            yield process
        finally:
            process.kill()
            process.wait()
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int(self.pid_file.read_text()), signal.SIGKILL)

    @property
    def listens(self) -> bool:
        """Whether it is there."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


FAKE = """
import json, os, pathlib, socket, sys
here = pathlib.Path(__file__).parent
(here / "pid").write_text(str(os.getpid()))
(here / "environment.json").write_text(json.dumps(dict(os.environ)))
listening = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
while True:
    listening.accept()[0].close()
"""


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_comfyui_ends_with_the_command_whatever_ends_it(tmp_path: Path, comfyui: Path, number: signal.Signals) -> None:
    fake = FakeComfyUI(comfyui, tmp_path / "home")
    with fake.opened() as command:
        assert fake.listens
        command.send_signal(number)
        assert command.wait(60) == 0
        assert not fake.listens


def test_the_server_that_deploy_sends_to_is_said_and_no_key_is_made_for_another(tmp_path: Path, comfyui: Path) -> None:
    class Ready(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    home = tmp_path / "home"
    prepare(home / "editor", comfyui, None)
    (home / "editor/user/default/comfy.settings.json").write_text('{"Runflow.ApiUrl": "https://runflow.example.com"}')
    scan = {"RUNFLOW_SCAN_PORT_SERVICE": "https://ports.example", "RUNFLOW_SECRET_KEY": "0123456789abcdef" * 4}
    fake = FakeComfyUI(comfyui, home, **scan)
    with serving(Ready) as url:
        (home / "server.url").write_text(url)
        with fake.opened():
            said = " ".join(fake.said.read_text().split())
    assert "Deploy sends to https://runflow.example.com, which was chosen in Settings." in said
    assert not (home / "editor/user/__runflow/keys.json").exists()
    # What the plugin in it reads, and no more: custom nodes see its environment.
    seen = json.loads(fake.seen.read_text())
    assert {name: value for name, value in seen.items() if name.startswith("RUNFLOW_")} == {
        "RUNFLOW_HOME": str(home),
        "RUNFLOW_SCAN_PORT_SERVICE": "https://ports.example",
    }


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
