"""`runflow budget`: what an organization may spend. Without a budget it spends as much as it likes."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer

from runflow import errors
from runflow.accounts.organizations import queries as orgs
from runflow.billing import grants
from runflow.billing.budget import dollars
from runflow.cli.console import WRONG_CALL, console, fail, money
from runflow.cli.settings import load_settings
from runflow.db.transaction import Transaction
from runflow.installation import Installation, open_installation
from runflow.logs import configure
from runflow.web.responses import dumps

app = typer.Typer(add_completion=False, help="Limit what an organization may spend.", no_args_is_help=True)

Organization = Annotated[str, typer.Argument(help="Slug of the organization.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("set")
def set_budget(
    org: Organization,
    monthly: Annotated[
        Decimal | None, typer.Option(parser=money, metavar="USD", help="Per calendar month (UTC); this one counts.")
    ] = None,
    credit: Annotated[
        Decimal | None, typer.Option(parser=money, metavar="USD", help="From now on in all; counted from zero.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set a monthly limit, a credit, or both: dispatch stops (402) when either is used up."""
    if monthly is None and credit is None:
        fail(
            "Say how much: --monthly USD, --credit USD, or both. `runflow budget clear` takes a budget away.",
            WRONG_CALL,
        )

    async def change(transaction: Transaction, org_id: UUID) -> dict[str, Any]:
        return await grants.grant(transaction, org_id, monthly=monthly, credit=credit)

    _show(org, _in_organization(org, change, grants.recount), as_json)


@app.command()
def show(org: Organization, as_json: Json = False) -> None:
    """Show an organization's budget and what is left of it."""
    _show(org, _in_organization(org, grants.budget), as_json)


@app.command()
def clear(org: Organization, as_json: Json = False) -> None:
    """Take every limit away."""
    cleared = _in_organization(org, grants.clear)
    if as_json:
        typer.echo(dumps({"organization": org, "cleared": bool(cleared)}).decode())
        return
    console.print(f"{org} may spend as much as it likes." if cleared else f"{org} had no budget.")


def _in_organization(slug: str, *work: Callable[[Transaction, UUID], Awaitable[Any]]) -> Any:
    """Do this work, each part in a transaction of its own, and return what the last one did."""

    async def run(installation: Installation) -> Any:
        done = None
        async with installation.database() as db:
            for part in work:
                async with db.system() as transaction:
                    row = await orgs.by_slug(transaction, slug)
                    if row is None:
                        message = f"There is no organization {slug!r}. `runflow orgs list` names them."
                        raise errors.OrganizationNotFound(message)
                    done = await part(transaction, row.id)
        return done

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        return asyncio.run(run(installation))


def _show(org: str, budget: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(dumps(budget).decode())
        return
    if budget["balance"] is None:
        typer.echo(f"{org} has no budget: it may spend as much as it likes.")
        return
    if budget["monthly_limit"] is not None:
        typer.echo(f"month    {dollars(budget['month_spent'])} of {dollars(budget['monthly_limit'])}")
    if budget["credit"] is not None:
        typer.echo(f"credit   {dollars(budget['credit_spent'])} of {dollars(budget['credit'])}")
    typer.echo(f"balance  {dollars(budget['balance'])}")
