"""The command line as a whole: its help, its version, and what a command loads before it does anything."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import runflow
from runflow.cli import COMMANDS, Commands, app
from runflow.cli.console import program
from tests.support.source import ROOT

SERVER_PARTS = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "psycopg", "obstore", "lark", "numpy"}


def loaded(*words: str) -> tuple[int, set[str]]:
    """Return the exit code of a command in a process of its own, and the packages that it has loaded at its end."""
    code = (
        "import atexit, sys\n"
        "tell = lambda: print('loaded', *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "atexit.register(tell)\n"
        f"sys.argv = {['runflow', *words]!r}\n"
        "from runflow.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_what_the_command_says_of_itself(name: str) -> None:
    root = get_command(app)
    assert isinstance(root, Commands)
    assert COMMANDS[name] == root.get_command(typer.Context(root), name).help


def test_every_module_with_a_command_is_in_the_help() -> None:
    folder = ROOT / "src" / "runflow" / "cli"
    assert {path.stem for path in folder.glob("*.py") if "\napp = typer.Typer(" in path.read_text()} == {
        "__init__",
        *COMMANDS,
    }
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert [name for name, summary in COMMANDS.items() if f"{name} " not in said or summary not in said] == []


def options(command: Any, path: str = "") -> dict[str, set[str]]:
    """Return the options of every command below this one, by its full name."""
    if not hasattr(command, "list_commands"):
        return {path: {option for parameter in command.params for option in parameter.opts}}
    context = typer.Context(command)
    found: dict[str, set[str]] = {}
    for name in command.list_commands(context):
        found |= options(command.get_command(context, name), f"{path} {name}".strip())
    return found


def test_every_command_that_ends_by_itself_takes_json() -> None:
    without = {name for name, found in options(get_command(app)).items() if "--json" not in found}
    assert without == {"up", "editor", "demo"}, "and `worker`, which is a command of its own"


def test_the_help_of_all_commands_imports_none_of_them() -> None:
    code, packages = loaded("--help")
    assert code == 0
    assert packages & (SERVER_PARTS | {"aiohttp", "httpx", "pydantic_settings", "structlog", "asyncio"}) == set()


@pytest.mark.parametrize(
    "words",
    [
        "worker",
        "comfyui",
        "comfyui install",
        "plugin install",
        "deploy",
        "run",
        "runs",
        "runs list",
        "models",
        "models add",
        "sources",
        "sources approve",
        "login",
        "logout",
    ],
)
def test_the_help_of_a_command_of_the_plain_install_loads_what_it_shows_only(words: str) -> None:
    code, packages = loaded(*words.split(), "--help")
    assert code == 0
    assert packages & (SERVER_PARTS | {"aiohttp", "httpx", "pydantic_settings", "structlog"}) == set()


@pytest.mark.parametrize(
    ("called", "found", "said"),
    [
        (".venv/bin/runflow", False, ".venv/bin/runflow"),
        ("/a b/runflow", False, "'/a b/runflow'"),
        ("/opt/runflow/.venv/bin/runflow", True, "runflow"),
        ("/opt/runflow/src/runflow/__main__.py", False, "runflow"),
    ],
)
def test_what_people_copy_calls_the_command_as_they_called_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, found: bool, said: str
) -> None:
    """The README's commands begin with .venv/bin/; a shell would not find what leaves it out."""
    installed = tmp_path / "runflow"
    installed.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [called, "deploy"])
    monkeypatch.setenv("PATH", str(tmp_path) if found else str(tmp_path / "nothing"))
    assert program() == said


def test_the_version_is_said_once_and_for_all() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"runflow {runflow.__version__}\n")


def test_the_collector_does_not_look_through_what_a_command_imports() -> None:
    """It would find nothing, and take a seventh of the time until a server answers."""
    code = """
import gc
from runflow.cli import Commands
ran = []
gc.callbacks.append(lambda phase, about: ran.append(about))
Commands(name="runflow").get_command(None, "keys")
print(len([about for about in ran if about["generation"] == 2]), gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]
