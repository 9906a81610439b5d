"""The command `runflow`: one module per command or group of commands, imported when it is used."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from runflow.cli.console import explain

MODULES = ("up", "demo", "worker", "comfyui", "plugin", "keys", "orgs", "gpus", "budget")
"""Each is a module of this package with a Typer object `app`."""


class Commands(TyperGroup):
    """Imports a command's module when it is asked for, so that a worker never loads the server's parts."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name every command, in the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None when there is none of this name."""
        if cmd_name not in MODULES:
            return None
        command = get_command(import_module(f"runflow.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="runflow",
    cls=Commands,
    help="Turn any ComfyUI workflow into a callable HTTP API on machines you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _runflow() -> None:
    pass


def main() -> None:
    """Run the command line."""
    try:
        app()
    except Exception as error:
        try:
            explain(error)
        except typer.Exit as ended:
            sys.exit(ended.exit_code)
        raise
