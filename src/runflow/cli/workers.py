"""`runflow workers`: the machines that take runs, and how one is taken out of service."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from runflow import errors
from runflow.cli.console import console
from runflow.cli.database import in_transaction
from runflow.cli.tables import print_table
from runflow.db.transaction import Transaction
from runflow.overview import queries as overview
from runflow.web.responses import dumps
from runflow.workers import queries, service
from runflow.workers.queries import CONNECTED_SECONDS

app = typer.Typer(
    add_completion=False, help="List workers, take them out of service and remove them.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="WORKER", help="Name or id of the worker.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the workers with what they execute: those that are connected first."""
    rows = in_transaction(lambda transaction: overview.workers(transaction, CONNECTED_SECONDS))
    if as_json:
        typer.echo(dumps({"items": rows}).decode())
    elif rows:
        print_workers(rows)
    else:
        console.print("No worker has ever registered. `runflow up` runs one; elsewhere: runflow worker --server URL")


@app.command()
def drain(worker: Name, as_json: Json = False) -> None:
    """Let a worker finish what it has and get no new runs, until it is undrained; it stays so when it restarts."""
    worker_id = _set_draining(worker, True)
    said = f"{worker} gets no new runs. `runflow workers list` shows when it has finished those it has."
    _tell(said, {"id": worker_id, "draining": True}, as_json)


@app.command()
def undrain(worker: Name, as_json: Json = False) -> None:
    """Let a drained worker take runs again."""
    worker_id = _set_draining(worker, False)
    _tell(f"{worker} takes runs again.", {"id": worker_id, "draining": False}, as_json)


@app.command()
def remove(worker: Name, as_json: Json = False) -> None:
    """Take a worker that is gone off the lists, and free its name for another token."""

    async def work(transaction: Transaction) -> UUID:
        worker_id = await _find(transaction, worker)
        await service.remove_by_operator(transaction, worker_id)
        return worker_id

    worker_id = in_transaction(work)
    _tell(f"Removed {worker}. It is back when a worker of this name registers.", {"id": worker_id}, as_json)


def print_workers(rows: list[overview.WorkerRow]) -> None:
    """Print the workers as people read them."""
    now = datetime.now(UTC)
    print_table(
        ("name", "GPU", "has", "executes", "seen", "state"),
        [
            (
                row.name,
                row.gpu_code,
                has(row),
                str(row.executing),
                ago((now - row.last_seen_at).total_seconds()),
                state(row),
            )
            for row in rows
        ],
        # What is wrong with a worker ends with what to do.
        whole=("name", "GPU", "executes", "seen", "state"),
        right=("executes",),
    )


def has(row: overview.WorkerRow) -> str:
    """Say in short what a worker's engine has: `0.30.0, 812 classes, 3 packs, 14 models, bubblewrap, fork 3`."""
    counted = (
        (row.node_types_count, "class", "classes"),
        (row.node_packs_count, "pack", "packs"),
        (row.models_count, "model", "models"),
    )
    told = [
        row.comfyui_version,
        *(f"{count} {one if count == 1 else several}" for count, one, several in counted if count is not None),
        row.sandbox_rung,
        None if row.fork_level is None else f"fork {row.fork_level}",
    ]
    return ", ".join(one for one in told if one) or "-"


def state(row: overview.WorkerRow) -> str:
    """Say in a word or two what a worker is up to."""
    if not row.online:
        return "away"
    if row.status_code != "ready":
        return f"{row.status_code}: {row.status_detail}" if row.status_detail else row.status_code
    if row.draining:
        return "draining"
    return "paused, it does not answer its offers" if row.paused else "ready"


def ago(seconds: float) -> str:
    """Say how long ago something was, in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def _tell(said: str, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(dumps(result).decode())
    else:
        console.print(said, markup=False, soft_wrap=True)


def _set_draining(worker: str, draining: bool) -> UUID:
    async def work(transaction: Transaction) -> UUID:
        worker_id = await _find(transaction, worker)
        await service.drain_by_operator(transaction, worker_id, draining)
        return worker_id

    return in_transaction(work)


async def _find(transaction: Transaction, worker: str) -> UUID:
    found = await queries.named(transaction, worker)
    if found is None:
        try:
            row: Any = await queries.shown(transaction, UUID(worker))
        except ValueError:
            row = None
        found = None if row is None else row.id
    if found is None:
        raise errors.WorkerNotFound(
            f"There is no worker {worker!r}. `runflow workers list` shows those that there are."
        )
    return found
