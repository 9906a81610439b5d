"""`runflow gpus`: the catalogue of GPU classes and their prices."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from runflow.cli.console import WRONG_CALL, console, fail, money
from runflow.cli.settings import load_settings
from runflow.db.transaction import Transaction
from runflow.installation import Installation, open_installation
from runflow.logs import configure
from runflow.web.responses import dumps
from runflow.workers.gpus import queries, service

app = typer.Typer(add_completion=False, help="List GPU classes and set their prices.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List every GPU class with its memory, price and connected workers."""
    rows = [service.record(row) for row in _with_catalogue(queries.everything)]
    if as_json:
        typer.echo(dumps({"items": rows}).decode())
        return
    table = Table("code", "name", "memory", "USD per second", "workers online", box=None)
    for row in rows:
        table.add_row(
            row["code"],
            row["name"],
            f"{row['memory_gb']} GB",
            f"{row['price_per_second']:.6f}",
            str(row["workers_online"]),
        )
    Console().print(table)


@app.command("set")
def set_gpu(
    code: Annotated[str, typer.Argument(help="The class, as workers report it, e.g. L40S.")],
    price: Annotated[
        Decimal | None, typer.Option(parser=money, metavar="USD", help="Per second of load and execution.")
    ] = None,
    memory: Annotated[int | None, typer.Option(help="Memory in GB.", min=0, max=100_000)] = None,
    name: Annotated[str | None, typer.Option(help="What people read.")] = None,
    as_json: Json = False,
) -> None:
    """Set price, memory or name of a GPU class; a class that is not there is made."""
    given = {"price_per_second": price, "memory_gb": memory, "name": name}
    values = {field: value for field, value in given.items() if value is not None}
    if not values:
        fail("Say what to set: --price USD, --memory GB or --name NAME.", WRONG_CALL)
    if price is not None and price >= 10**6:
        fail("A price per second is below 1,000,000 USD.", WRONG_CALL)
    _with_catalogue(lambda transaction: queries.put(transaction, code, values))
    if as_json:
        rows = [service.record(row) for row in _with_catalogue(queries.everything)]
        typer.echo(dumps(next(row for row in rows if row["code"] == code)).decode())
        return
    console.print(f"Set {code}. Attempts that end from now on have the new price.")


def _with_catalogue(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
    async def run(installation: Installation) -> Any:
        async with installation.database() as db, db.system() as transaction:
            return await work(transaction)

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        return asyncio.run(run(installation))
