"""The wheel, installed away from the clone, works."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT

PURE_IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
import importlib
importlib.import_module(sys.argv[2])
ours = sys.argv[2].split(".")[0]
foreign = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {ours, "__main__"}
assert not foreign, foreign
"""


def python(*arguments: str, path: Path | None = None) -> str:
    """Run this Python away from the clone, with `path` before everything else, and return what it printed."""
    environment = {"PATH": "/usr/bin:/bin", **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_packages_come_from_the_wheel(installed: Path) -> None:
    said = python(
        "-c", "import runflow, runflow.graph; print(runflow.__file__, runflow.graph.__file__)", path=installed
    )
    assert said.split() == [str(installed / "runflow/__init__.py"), str(installed / "runflow/graph/__init__.py")]


def test_the_server_application_imports(installed: Path) -> None:
    python("-W", "error", "-c", "import runflow.server, runflow.worker", path=installed)


def test_the_command_starts(installed: Path) -> None:
    said = python("-m", "runflow", "--help", path=installed)
    assert "up" in said
    assert "comfyui" in said


@pytest.mark.parametrize("module", ["runflow.graph", "runflow._plugin.graph"])
def test_the_pure_modules_need_neither_comfyui_nor_any_package(installed: Path, module: str) -> None:
    python("-I", "-S", "-c", PURE_IMPORTS, str(installed), module)


@pytest.mark.parametrize("module", ["plugin.graph", "plugin"])
def test_the_clone_s_plugin_imports_without_comfyui(module: str) -> None:
    python("-I", "-S", "-c", PURE_IMPORTS, str(ROOT), module)
