"""`runflow up`: everything on one machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from runflow.cli.console import fail, program, say
from runflow.cli.settings import load_settings
from runflow.home_lock import serving_home
from runflow.installation import FirstSteps, open_installation
from runflow.logs import configure, writes_json
from runflow.outgoing.reach import refusal
from runflow.settings import Settings
from runflow.supervisor import Listen, Supervisor
from runflow.tls import check_pair
from runflow.worker.abilities.gpu import NoGpuClass, declared_gpu
from runflow.worker.runtime.record import is_usable

app = typer.Typer(add_completion=False, help="Start the database, the API server and one local worker.")


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8700,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): serve https.", exists=True)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).", exists=True)] = None,
    worker: Annotated[bool, typer.Option(help="Run a local worker with a ComfyUI engine.")] = True,
    gpu: Annotated[
        str | None,
        typer.Option(
            envvar="RUNFLOW_WORKER_GPU",
            metavar="CODE[:GiB]",
            help="GPU class of the local worker and its memory, such as L40S:48, or CPU; default: as detected.",
        ),
    ] = None,
) -> None:
    """Start the database, the API server and one local worker; stop them all with Ctrl-C."""
    configure()
    settings = load_settings()
    configure(settings.log_format)
    certificate, key = tls_cert or settings.tls_cert, tls_key or settings.tls_key
    if (certificate is None) != (key is None):
        fail("Give both --tls-cert and --tls-key (or RUNFLOW_TLS_CERT and RUNFLOW_TLS_KEY), or neither.")
    if certificate is not None and key is not None:
        check_pair(certificate, key)
    if gpu is not None:
        try:
            declared_gpu(gpu)
        except NoGpuClass as error:
            fail(f"--gpu {error}")
    listen = Listen(host, port, certificate, key)

    def ready(steps: FirstSteps) -> None:
        _welcome(settings, listen, steps, worker=worker)

    # What the database tells of its start it logs as well.
    progress = None if writes_json() else say
    with serving_home(settings.home_dir, listen.url), open_installation(settings, progress) as installation:
        supervisor = Supervisor(installation, listen, worker=worker, ready=ready, gpu=gpu)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(supervisor.run())
    say("Stopped.")


def _welcome(settings: Settings, listen: Listen, steps: FirstSteps, *, worker: bool) -> None:
    say(f"Runflow is up at {listen.url}  (home: {settings.home_dir})")
    address = settings.public_url or listen.url
    if address != listen.url:
        say(f"Its address for clients: {address}")
    say(f"Every route, to read and to try out: {address.rstrip('/')}/docs")
    if steps.new_key is not None:
        say(f"Organization {steps.org_slug}. Your first API key is on stdout, shown this once:")
        # On stdout, beside the logs: they may be kept.
        typer.echo(steps.new_key)
    if refusal("http://127.0.0.1", settings) is not None:
        say("To receive callbacks and webhooks on this machine, start it with RUNFLOW_ALLOWED_NETWORKS=127.0.0.0/8")
    if worker and settings.comfyui_url is None and not is_usable(settings.comfyui_dir):
        say(f"There is no ComfyUI yet, so runs wait. Install one with:  {program()} comfyui install")
