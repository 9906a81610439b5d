"""`runflow orgs`: organizations of this installation, without going through the API."""

import asyncio
from typing import Annotated, Any

import typer

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.accounts.organizations import queries, service
from runflow.accounts.organizations.schemas import OWNER
from runflow.cli.console import console, fail
from runflow.cli.members import members_app
from runflow.cli.settings import load_settings
from runflow.cli.tables import print_table
from runflow.db.transaction import Violation
from runflow.graph.slug import SlugError
from runflow.installation import Installation, first_steps, open_installation
from runflow.logs import configure
from runflow.web.responses import dumps

app = typer.Typer(add_completion=False, help="Create and list organizations and their members.", no_args_is_help=True)
app.add_typer(members_app, name="members")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What people call it.")],
    slug: Annotated[
        str | None, typer.Option(help="The `owner` of its workflows' addresses; default: made from the name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an organization and print its first API key, which holds every scope that it can, this once."""
    try:
        address = OWNER.derived(name) if slug is None else OWNER.checked(slug)
    except SlugError as error:
        fail(str(error))

    async def run(installation: Installation) -> dict[str, Any]:
        async with installation.database() as db:
            await first_steps(installation, db)
            async with db.system() as transaction:
                return await service.create_by_operator(transaction, slug=address, name=name, scopes=list(ALL_SCOPES))

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        try:
            made = asyncio.run(run(installation))
        except Violation:
            fail(f"There is an organization with the slug {address!r} already. Choose another with --slug.")
    if as_json:
        typer.echo(dumps(made).decode())
    else:
        console.print(f"Organization [bold]{made['slug']}[/] ({made['id']}). Its first API key, shown this once:")
        typer.echo(made["api_key"]["key"])


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the organizations, the oldest first."""

    async def run(installation: Installation) -> list[dict[str, Any]]:
        async with installation.database() as db, db.system() as transaction:
            return [service.record(row) for row in await queries.every(transaction)]

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        found = asyncio.run(run(installation))
    if as_json:
        typer.echo(dumps(found).decode())
        return
    print_table(
        ("slug", "name", "id", "created at"),
        [(one["slug"], one["name"], str(one["id"]), one["created_at"].isoformat(timespec="seconds")) for one in found],
        whole=("slug", "id"),
    )
