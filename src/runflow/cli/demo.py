"""`runflow demo`: from nothing to a picture that a real ComfyUI made because an HTTP API asked it to."""

import asyncio
import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from runflow.accounts.keys import service as keys
from runflow.cli.console import console, fail
from runflow.cli.settings import load_settings
from runflow.client import ApiError, RunFailed, Runflow, RunflowUnreachable, Unauthorized
from runflow.demo import server, workflow
from runflow.demo.picture import paint
from runflow.installation import Installation, first_steps, open_installation
from runflow.logs import configure
from runflow.private_file import write_private
from runflow.server import DEFAULT_ADDRESS
from runflow.settings import Settings
from runflow.worker.runtime.record import is_usable

SCOPES = (
    "comfyui-workflows:read",
    "comfyui-workflows:create",
    "comfyui-workflows:edit",
    "runs:create",
    "runs:read",
    "assets:create",
)


app = typer.Typer(add_completion=False, help="Make a picture on a real ComfyUI, because an HTTP API asked it to.")


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option(help="Where to save the picture; default: in the home folder.")] = None,
) -> None:
    """Install a ComfyUI if there is none, deploy a small workflow, run it over HTTP and save the picture."""
    settings = load_settings()
    configure("console", level="warning")
    _require_engine(settings)
    home = settings.home_dir
    folder = home / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            found = server.running(home, settings.ca_file)
            url = found or stack.enter_context(_own_server(home))
            key = _key(settings, folder / "demo.key", url)
            with Runflow(url, key, ca_file=settings.ca_file) as client:
                result = _play(client, folder, output, shown=found or DEFAULT_ADDRESS)
    except (ApiError, RunFailed, RunflowUnreachable, server.ServerDidNotStart) as error:
        fail(str(error))
    typer.echo(orjson.dumps(result).decode())


@contextlib.contextmanager
def _own_server(home: Path) -> Iterator[str]:
    console.print("Starting Runflow …")
    with server.own_server(home, on_key=_show_key) as url:
        yield url
    console.print("Stopped Runflow.")


def _show_key(key: str) -> None:
    console.print("Your first API key, shown this once:")
    console.print(f"    {key}", markup=False)


def _require_engine(settings: Settings) -> None:
    if settings.comfyui_url is not None or is_usable(settings.comfyui_dir):
        return
    console.print(f"There is no ComfyUI in {settings.comfyui_dir} yet; installing one.")
    command = [sys.executable, "-P", "-m", "runflow", "comfyui", "install", str(settings.comfyui_dir), "--yes"]
    ended = subprocess.run(command, check=False, stdout=sys.stderr)
    if ended.returncode != 0:
        raise typer.Exit(ended.returncode)


def _key(settings: Settings, path: Path, url: str) -> str:
    """Return the demo's own API key, made at the first demo, and when it was revoked: only the scopes that it needs."""
    if path.exists() and (known := path.read_text().strip()):
        with contextlib.suppress(Unauthorized), Runflow(url, known, ca_file=settings.ca_file) as client:
            client.request("GET", "/v1/auth/me")
            return known

    async def make(installation: Installation) -> str:
        async with installation.database() as db:
            steps = await first_steps(installation, db)
            async with db.tenant(steps.org_id) as transaction:
                made = await keys.create(transaction, org_id=steps.org_id, name="demo", scopes=SCOPES)
        return str(made["key"])

    with open_installation(settings) as installation:
        key = asyncio.run(make(installation))
    write_private(path, key + "\n")
    return key


def _play(client: Runflow, folder: Path, output: Path | None, *, shown: str) -> dict[str, Any]:
    deployed = client.deploy(workflow.SLUG, workflow.PROMPT, name=workflow.NAME)
    path = deployed["path"]
    console.print(f"Deployed [bold]{path}[/], version {deployed['version']}.")
    photo = client.upload(paint(folder / "photo.png"))
    console.print(f"Uploaded {folder / 'photo.png'} as {photo}.")
    inputs = {"photo": photo, "size": 512, "strength": 0.8}
    started = time.perf_counter()
    run = client.submit(path, inputs)
    finished = _follow(client, run["id"])
    elapsed = (time.perf_counter() - started) * 1000
    produced = finished["output"]["outputs"][0]
    picture = client.download(produced, output or folder / f"{finished['id']}.png")
    _report(shown, path, inputs, finished, picture, folder / "demo.key", elapsed)
    return {"output": str(picture), "run_id": finished["id"], "submit_to_done_ms": round(elapsed, 1)}


def _follow(client: Runflow, run_id: str) -> dict[str, Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("queued", total=None)

        def show(run: dict[str, Any]) -> None:
            text = run["waiting_reason"] or run["status_code"]
            bars.update(bar, description=text, total=run["nodes_total"], completed=run["nodes_completed"] or 0)

        return client.wait(run_id, progress=show)


def _report(
    url: str, path: str, inputs: dict[str, Any], run: dict[str, Any], picture: Path, key_file: Path, elapsed: float
) -> None:
    spent = run["cost_breakdown"] or {}
    console.print(f"[bold green]Done[/] in {elapsed:.0f} ms (run {run['id']}).")
    console.print(
        f"On the server {run['duration_ms']} ms, of which {float(spent.get('execute_seconds', 0)) * 1000:.0f} ms "
        "in ComfyUI."
    )
    console.print(f"Picture: [bold]{picture}[/]")
    body = orjson.dumps({"input": inputs}).decode()
    console.print("Do it again (while `runflow up` runs):")
    typer.echo(
        f'curl "{url}/v1/comfyui-workflows/{path}/runs?wait=60" -H "Authorization: Bearer $(cat {key_file})" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}",
        err=True,
    )
