"""The command `runflow`: one module per command or group of commands."""

import typer

from runflow.cli import comfyui, demo, keys, plugin, up, worker

app = typer.Typer(
    name="runflow",
    help="Turn any ComfyUI workflow into a callable HTTP API on machines you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.add_typer(worker.app, name="worker")
app.add_typer(comfyui.app, name="comfyui")
app.add_typer(plugin.app, name="plugin")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command line."""
    app()
