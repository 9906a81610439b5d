"""`runflow gpus`: the catalogue of GPU classes and their prices."""

from decimal import Decimal
from typing import Annotated

import typer

from runflow.cli.console import WRONG_CALL, console, fail, money
from runflow.cli.database import in_transaction
from runflow.cli.tables import print_table
from runflow.db.transaction import Transaction
from runflow.web.responses import dumps
from runflow.workers.gpus import queries, service

app = typer.Typer(add_completion=False, help="List GPU classes and set their prices.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List every GPU class with its memory, price and connected workers."""
    rows = [service.record(row) for row in in_transaction(queries.everything)]
    if as_json:
        typer.echo(dumps({"items": rows}).decode())
        return
    print_table(
        ("code", "name", "memory", "USD per second", "workers online"),
        [
            (
                row["code"],
                row["name"],
                f"{row['memory_gb']} GB",
                f"{row['price_per_second']:.6f}",
                str(row["workers_online"]),
            )
            for row in rows
        ],
        whole=("code",),
    )


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
    in_transaction(lambda transaction: queries.put(transaction, code, values))
    if as_json:
        rows = [service.record(row) for row in in_transaction(queries.everything)]
        typer.echo(dumps(next(row for row in rows if row["code"] == code)).decode())
        return
    console.print(f"Set {code}. Attempts that end from now on have the new price.")


@app.command("cloud-prices")
def set_cloud_prices(as_json: Json = False) -> None:
    """Give the catalogue's classes the prices that clouds took when this release was made; without it, all cost 0."""

    async def work(transaction: Transaction) -> None:
        for code, price in service.CLOUD_PRICES.items():
            await queries.put(transaction, code, {"price_per_second": price})

    in_transaction(work)
    if as_json:
        typer.echo(dumps({"items": [service.record(row) for row in in_transaction(queries.everything)]}).decode())
        return
    console.print(f"Set {', '.join(service.CLOUD_PRICES)}. Attempts that end from now on have these prices.")
