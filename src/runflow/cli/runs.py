"""`runflow runs`: look at runs, follow, cancel and repeat them."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, INTERRUPTED, fail, program
from runflow.cli.tables import print_table

if TYPE_CHECKING:
    from runflow.client import Run

app = typer.Typer(add_completion=False, help="List, show, follow, cancel and repeat runs.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id.")]
Patience = Annotated[float, typer.Option(help="Stop waiting after so many seconds; the run goes on.", min=0)]


@app.command("list")
def list_runs(
    workflow: Annotated[str | None, typer.Argument(metavar="PATH", help="Only those of owner/slug.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those with this status, such as failed.")] = None,
    q: Annotated[str | None, typer.Option("--query", "-q", help="A filter, as lists of the API take it.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 20,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    parts = [f"status_code:'{status}'"] if status else []
    query = " AND ".join([*parts, *([f"({q})"] if q else [])]) or None
    with calling(server, key) as api:
        found = list(api.runs(workflow, limit=limit, q=query))
    if as_json:
        print_json(found)
        return
    _print_table(found)


@app.command()
def show(run_id: RunId, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Show a run: how it went, what it cost, its files, and why it failed or waits."""
    with calling(server, key) as api:
        run = api.get_run(run_id)
    if as_json:
        print_json(run)
        return
    rows = {
        "id": run.id,
        "status": run.status_code,
        "waits for": run.waiting_reason,
        "created": _when(run.created_at),
        "took": _duration(run),
        "waited": _wait(run),
        "cost": f"{run.cost} USD" if run.cost else None,
        "attempts": run.attempt_count,
        "client_ref": run.client_ref,
        "failure": f"{run.failure_code}: {run.failure_message}" if run.failure_code else None,
        "reason": run.cancellation_reason,
    }
    for name, value in rows.items():
        if value is not None:
            typer.echo(f"{name:<11}{value}")
    for file in run.outputs:
        size = f"{file.width}x{file.height}, " if file.width else ""
        typer.echo(
            f"{'output':<11}{file.output_id}: {file.filename} ({size}{file.size_bytes} bytes)\n{'':<11}{file.url}"
        )


@app.command()
def tail(
    run_id: RunId, timeout: Patience = 86400, server: Server = None, key: Key = None, as_json: Json = False
) -> None:
    """Follow a run to its end: states, nodes, log lines. Ctrl-C stops watching, and the run goes on."""
    from runflow.cli.following import display, follow

    with calling(server, key) as api:
        try:
            if as_json:
                for event in api.events(run_id, timeout=timeout):
                    print_json({"id": event.number, "event": event.kind, **event})
                run = api.get_run(run_id)
            else:
                with display() as shown:
                    run = follow(api, api.get_run(run_id), shown, timeout=timeout, verbose=True)
        except KeyboardInterrupt:
            say(f"The run goes on. Cancel it with: {program()} runs cancel {run_id}")
            raise typer.Exit(INTERRUPTED) from None
    if run.status_code != "succeeded":
        fail(run.failure_message or f"The run {run.id} was cancelled.", FAILED)
    say(f"The run {run.id} succeeded{f' in {_duration(run)}' if run.duration_ms is not None else ''}.")


@app.command()
def cancel(
    run_id: RunId,
    reason: Annotated[str | None, typer.Option(help="Kept with the run.")] = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Cancel a run, queued or running; one that has ended stays as it is."""
    with calling(server, key) as api:
        run = api.cancel(run_id, reason=reason)
    if as_json:
        print_json(run)
        return
    say(f"Cancelled {run.id}." if run.status_code == "cancelled" else f"{run.id} had ended already: {run.status_code}.")


@app.command()
def rerun(
    run_id: RunId,
    pinned: Annotated[bool, typer.Option("--pinned", help="On the version that the run was made on.")] = False,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Queue a run of the same input on the workflow's current version, and print its id."""
    with calling(server, key) as api:
        run = api.rerun(run_id, **({"version": "pinned"} if pinned else {}))
    if as_json:
        print_json(run)
        return
    say(f"Queued. `{program()} runs tail {run.id}` follows it.")
    typer.echo(run.id)


def _print_table(runs: "list[Run]") -> None:
    """Print the columns that hold anything."""
    columns: dict[str, list[str | None]] = {
        "id": [run.id for run in runs],
        "workflow": [run.get("model") for run in runs],
        "status": [run.status_code for run in runs],
        "created": [_when(run.created_at, "%m-%d %H:%M") for run in runs],
        "took": [_duration(run) for run in runs],
        "USD": [f"{run.cost.normalize():f}" if run.cost else None for run in runs],
        "client_ref": [run.client_ref for run in runs],
        "failure": [run.failure_code for run in runs],
    }
    told = {name: [cell or "" for cell in cells] for name, cells in columns.items() if any(cells) or name == "id"}
    print_table([*told], zip(*told.values(), strict=True), whole=("id", "status", "created", "took"))


def _wait(run: "Run") -> str | None:
    """Return how long a run waited in all, and for what it did so for a tenth of a second or more."""
    if run.wait is None:
        return None
    parts = {name.removesuffix("_ms"): spent / 1000 for name, spent in run.wait.items()}
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items() if seconds >= 0.1)
    return f"{sum(parts.values()):.1f} s{f' ({told})' if told else ''}"


def _when(moment: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str | None:
    return None if moment is None else moment.astimezone().strftime(form)


def _duration(run: "Run") -> str | None:
    return None if run.duration_ms is None else f"{run.duration_ms / 1000:.1f} s"
