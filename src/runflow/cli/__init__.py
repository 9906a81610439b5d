"""The command `runflow`: one module per command or group of commands, imported when it is used."""

import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from runflow import __version__
from runflow.cli.console import explain

COMMANDS = {
    "up": "Start the database, the API server and one local worker; stop them all with Ctrl-C.",
    "demo": "Install a ComfyUI if there is none, deploy a small workflow, run it over HTTP and save the picture.",
    "editor": "Open the installed ComfyUI, with plugin, server and key filled in.",
    "login": "Save a server and an API key, for the commands that call it.",
    "logout": "Forget a saved API key.",
    "deploy": "Deploy an exported workflow, or give it a new version.",
    "examples": "List, keep and delete the inputs that new versions of a workflow are tested with.",
    "prebuild": "Prepare a machine for a workflow before its first run, and follow that.",
    "run": "Run a workflow and save what it makes; Ctrl-C cancels the run.",
    "runs": "List, show, follow, cancel and repeat runs.",
    "models": "List, add and remove model files that workers fetch from the server.",
    "worker": "Run a worker on this machine.",
    "comfyui": "Install and examine the ComfyUI that runs workflows.",
    "plugin": "Install the ComfyUI plugin.",
    "status": "Show what waits, what is worked on, by whom, and what is left of the disk.",
    "workers": "List workers, take them out of service and remove them.",
    "sources": "List the code that workflows need, and approve or revoke it for building.",
    "keys": "Create, list and revoke API keys and worker tokens.",
    "orgs": "Create and list organizations and their members.",
    "gpus": "List GPU classes and set their prices.",
    "budget": "Limit what an organization may spend.",
}
"""Each is a module of this package with a Typer object `app`; its summary is here, so that the help imports none."""


class Commands(TyperGroup):
    """Imports a command's module when it is asked for, so that a worker never loads the server's parts."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name every command, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        # What an import makes stays, and looking through it again and again takes a seventh of the server's start.
        gc.disable()
        try:
            module = import_module(f"runflow.cli.{cmd_name}")
        finally:
            gc.enable()
        command = get_command(module.app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help from the summaries alone: importing every command takes seconds."""
        TyperGroup(
            name=self.name,
            help=self.help,
            params=self.params,
            rich_markup_mode=self.rich_markup_mode,
            commands={name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()},
        ).format_help(ctx, formatter)


app = typer.Typer(
    name="runflow",
    cls=Commands,
    help="Turn any ComfyUI workflow into a callable HTTP API on machines you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runflow {__version__}")
        raise typer.Exit


@app.callback()
def _runflow(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
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
