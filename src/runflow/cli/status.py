"""`runflow status`: the whole installation at a glance."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runflow.cli import workers
from runflow.cli.console import program
from runflow.cli.database import with_database
from runflow.cli.tables import print_table, size
from runflow.db.database import Database
from runflow.demo.server import alive, running
from runflow.installation import Installation
from runflow.overview import service
from runflow.overview.queries import WorkerRow
from runflow.storage.disk import LocalDisk
from runflow.web.responses import dumps

app = typer.Typer(
    add_completion=False, help="Show what waits, what is worked on, by whom, and what is left of the disk."
)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False) -> None:
    """Show what waits, what is worked on, by whom, and what is left of the disk."""

    async def work(installation: Installation, db: Database) -> dict[str, Any]:
        settings = installation.settings
        space = None
        if settings.bucket is None:
            space = LocalDisk(settings.storage_dir, settings.storage_reserve_bytes).space()
        async with db.system(durable=False) as transaction:
            found = await service.collect(transaction, space)
        address = running(settings.home_dir, settings.ca_file)
        ready = address is not None
        address = address or alive(settings.home_dir, settings.ca_file)
        if address is None and not found["server"]["processes"]:
            found["workers"] = gone(found["workers"])
        server = {**found["server"], "url": address, "ready": ready, "home": str(settings.home_dir)}
        return {**found, "server": server}

    found = with_database(work)
    if as_json:
        typer.echo(dumps(found).decode())
    else:
        _print(found)


def gone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return workers as they are without a server: seen a moment ago, perhaps, and connected to nobody."""
    return [{**row, "online": False} for row in rows]


def _print(found: dict[str, Any]) -> None:
    out = Console(highlight=False)
    storage, queue, deliveries = found["storage"], found["queue"], found["deliveries"]
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_row("Server", _server(found["server"]))
    facts.add_row("Database", f"PostgreSQL {found['database']['version']}, {size(found['database']['size_bytes'])}")
    facts.add_row("Files", _files(storage))
    facts.add_row("Queue", _queue(queue))
    facts.add_row("Last hour", _counts(found["last_hour"]) or "no run")
    if any(found["cold_starts_last_hour"].values()):
        facts.add_row("Cold starts", f"{_counts(found['cold_starts_last_hour'])} (last hour, by cause)")
    facts.add_row("Messages", _deliveries(deliveries))
    facts.add_row("Workers", _workers(found["workers"]))
    out.print(facts, soft_wrap=True)
    if found["workers"]:
        out.print()
        workers.print_workers([WorkerRow(**row) for row in found["workers"]])
    if queue["lanes"]:
        out.print()
        _print_lanes(queue)


def _server(server: dict[str, Any]) -> str:
    if server["url"] and not server["ready"]:
        return f"[yellow]not ready[/], at {server['url']}. Why: {server['url']}/v1/readiness"
    if server["url"]:
        more = f", {server['processes']} processes on this database" if server["processes"] > 1 else ""
        return f"[green]up[/] at {server['url']} (release {server['version']}{more})"
    if server["processes"]:
        return f"none on {escape(server['home'])}; {server['processes']} elsewhere on this database"
    return f"[yellow]not running[/] on {escape(server['home'])}. Start it with: {program()} up"


def _files(storage: dict[str, Any]) -> str:
    if storage["free_bytes"] is None:
        return "in a bucket"
    return f"{size(storage['free_bytes'])} free of {size(storage['total_bytes'])}"


def _queue(queue: dict[str, Any]) -> str:
    waits = "" if queue["oldest_wait_seconds"] is None else f", the oldest for {queue['oldest_wait_seconds']:.0f} s"
    return f"{queue['queued']} wait{waits}; {queue['running']} with a worker"


def _deliveries(deliveries: dict[str, Any]) -> str:
    late = f", [yellow]{deliveries['overdue']} overdue[/]" if deliveries["overdue"] else ""
    return f"{deliveries['pending']} pending{late}"


def _workers(rows: list[dict[str, Any]]) -> str:
    online = sum(row["online"] for row in rows)
    return f"{online} connected, {len(rows) - online} away" if rows else "none has ever registered"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _print_lanes(queue: dict[str, Any]) -> None:
    print_table(
        ("organization", "workflow", "version", "GPU", "wait", "with a worker", "oldest"),
        [
            (
                lane["organization"],
                lane["workflow"],
                lane["version"],
                lane["gpu_class"],
                str(lane["queued"]),
                str(lane["running"]),
                "" if lane["oldest_wait_seconds"] is None else f"{lane['oldest_wait_seconds']:.0f} s",
            )
            for lane in queue["lanes"]
        ],
        whole=("workflow", "GPU", "wait", "with a worker", "oldest"),
        right=("wait", "with a worker"),
    )
    if queue["lanes_total"] > len(queue["lanes"]):
        typer.echo(f"and {queue['lanes_total'] - len(queue['lanes'])} more")
