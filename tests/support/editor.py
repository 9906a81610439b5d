"""A ComfyUI with the plugin, started as a person starts it: `python main.py`, a base folder of its own, no platform."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.platform_fixtures import free_port

CLONE = Path(__file__).resolve().parents[2]
PLUGIN = "ComfyUI-Runflow"
_NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "docs", "benchmarks", "tests", "node_modules")
_FOLDERS = ("custom_nodes", "models", "input", "output", "user/default", "cache")
_BOOT_SECONDS = 300
QUIET_PAGE = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Release.Status": "skipped",
    "Comfy.Notification.ShowVersionUpdates": False,
}
"""Settings that keep greetings out of the page."""


def place_plugin(custom_nodes: Path, *, as_clone: bool) -> Path:
    """Copy the plugin into custom_nodes: the whole repository, or the folder `plugin` alone. Returns its place."""
    target = custom_nodes / PLUGIN
    if as_clone:
        shutil.copytree(CLONE, target, symlinks=True, ignore=_NOT_CLONED)
    else:
        shutil.copytree(CLONE / "plugin", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def copy_comfyui(comfyui: Path, target: Path) -> Path:
    """A ComfyUI folder of its own, 30 to 60 MB, that shares only the Python environment. Returns its place."""
    large = (".venv", ".git", "models", "output")
    shutil.copytree(comfyui, target, ignore=lambda folder, _names: large if Path(folder) == comfyui else ())
    for folder in ("models", "output"):
        (target / folder).mkdir()
    (target / ".venv").symlink_to(comfyui / ".venv")
    return target


@dataclass
class Editor:
    """One ComfyUI with its base folder. `start` and `stop` may be called again; base folder and port stay."""

    comfyui: Path
    base: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    as_clone: bool = False
    page: str = ""
    """The version of the page where that is not the one that this ComfyUI pins."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in _FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        place_plugin(self.base / "custom_nodes", as_clone=self.as_clone)
        (self.base / "user/default/comfy.settings.json").write_text(json.dumps(QUIET_PAGE))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def plugin(self) -> Path:
        """The folder of the plugin's own files."""
        folder = self.base / "custom_nodes" / PLUGIN
        return folder / "plugin" if self.as_clone else folder

    def start(self) -> None:
        """Start ComfyUI and wait until it answers. Without API nodes it boots faster, and its pages carry a
        Content-Security-Policy that allows only ComfyUI's own address.
        """
        command = [str(self.comfyui / ".venv/bin/python"), "main.py", "--cpu", "--disable-auto-launch"]
        command += ["--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{self.base / 'user/comfyui.db'}", "--disable-api-nodes"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNFLOW_", "HF_", "TORCH_"))}
        caches = {"HF_HOME": str(self.base / "cache/huggingface"), "TORCH_HOME": str(self.base / "cache/torch")}
        # Whatever runs on this machine is no server of the tests.
        nowhere = {"RUNFLOW_URL": "http://127.0.0.1:1"}
        env = {**kept, **caches, **nowhere, "OMP_WAIT_POLICY": "passive", **self.environment}
        with (self.base / "comfyui.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=self.comfyui, env=env, stdout=log, stderr=log
            )
        self.wait()

    def wait(self, seconds: float = _BOOT_SECONDS) -> None:
        """Wait until it answers anything at all, a refusal included."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                pytest.fail(f"ComfyUI ended with {self.process.returncode}:\n{self.log()}")
            try:
                # No TLS: reading the system's authorities for every look would take a third of a core.
                httpx.get(f"{self.url}/system_stats", timeout=5, verify=False)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        pytest.fail(f"ComfyUI did not answer within {seconds:.0f} s:\n{self.log()}")

    def log(self) -> str:
        """The last lines that ComfyUI wrote."""
        lines = (self.base / "comfyui.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-60:])

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def end(self) -> None:
        """Kill it: saying goodbye takes it seconds, and of what it leaves nothing is needed any more."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
