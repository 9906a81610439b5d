"""`runflow up`: everything on one machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from runflow.cli.console import console, fail
from runflow.cli.settings import load_settings
from runflow.installation import FirstSteps, open_installation
from runflow.logs import configure
from runflow.outgoing.reach import refusal
from runflow.settings import Settings
from runflow.supervisor import Listen, Supervisor
from runflow.tls import check_pair
from runflow.worker.runtime.record import is_usable

app = typer.Typer(add_completion=False, help="Start the database, the API server and one local worker.")


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8700,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): serve https.", exists=True)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).", exists=True)] = None,
    worker: Annotated[bool, typer.Option(help="Run a local worker with a ComfyUI engine.")] = True,
) -> None:
    """Start the database, the API server and one local worker; stop them all with Ctrl-C."""
    settings = load_settings()
    certificate, key = tls_cert or settings.tls_cert, tls_key or settings.tls_key
    if (certificate is None) != (key is None):
        fail("Give both --tls-cert and --tls-key (or RUNFLOW_TLS_CERT and RUNFLOW_TLS_KEY), or neither.")
    if certificate is not None and key is not None:
        check_pair(certificate, key)
    configure(settings.log_format)
    listen = Listen(host, port, certificate, key)

    def ready(steps: FirstSteps) -> None:
        _welcome(settings, listen, steps, worker=worker)

    with open_installation(settings, lambda line: console.print(line, markup=False)) as installation:
        supervisor = Supervisor(installation, listen, worker=worker, ready=ready)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(supervisor.run())
    console.print("Stopped.")


def _welcome(settings: Settings, listen: Listen, steps: FirstSteps, *, worker: bool) -> None:
    console.print(f"[bold green]Runflow is up[/] at {listen.url}  (home: {settings.home_dir})")
    address = settings.public_url or listen.url
    if address != listen.url:
        console.print(f"Its address for clients: {address}", markup=False)
    console.print(f"Every route, to read and to try out: {address.rstrip('/')}/docs", markup=False)
    if steps.new_key is not None:
        console.print(f"Organization [bold]{steps.org_slug}[/]. Your first API key, shown this once:")
        # On stdout, beside the logs: they may be kept.
        typer.echo(steps.new_key)
    if refusal("http://127.0.0.1", settings) is not None:
        here = "To receive callbacks and webhooks on this machine, start it with RUNFLOW_ALLOWED_NETWORKS=127.0.0.0/8"
        console.print(here, markup=False)
    if worker and settings.comfyui_url is None and not is_usable(settings.comfyui_dir):
        console.print("There is no ComfyUI yet, so runs wait. Install one with:  [bold]runflow comfyui install[/]")
