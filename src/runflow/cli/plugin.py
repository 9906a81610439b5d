"""`runflow plugin`: the ComfyUI side of Runflow."""

import json
from pathlib import Path
from typing import Annotated

import typer

from runflow.cli.console import console, fail
from runflow.plugin_install import Action, PluginInstallError, install_plugin

app = typer.Typer(add_completion=False, help="Install the ComfyUI plugin.", no_args_is_help=True)

_SAID = {
    Action.COPIED: "Copied the plugin to",
    Action.LINKED: "Linked the plugin at",
    Action.UPDATED: "Replaced the plugin at",
    Action.UNCHANGED: "The plugin is already linked at",
}


@app.callback()
def group() -> None:
    """Install the ComfyUI plugin."""


@app.command()
def install(
    comfyui_dir: Annotated[Path, typer.Argument(help="ComfyUI's folder: the one with main.py and custom_nodes.")],
    link: Annotated[bool, typer.Option("--link", help="Link to the plugin's source instead of copying it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Put the plugin into COMFYUI_DIR/custom_nodes; ComfyUI loads it at its next start."""
    try:
        installed = install_plugin(comfyui_dir, link=link)
    except PluginInstallError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"action": installed.action.value, "path": str(installed.target)}))
        return
    console.print(f"{_SAID[installed.action]} {installed.target}.", markup=False)
    if installed.action is not Action.UNCHANGED:
        console.print("Restart ComfyUI to load it; reloading the page is not enough.")
