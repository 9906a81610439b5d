"""`runflow orgs members`: the people of an organization, without going through the API."""

from typing import Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from runflow.accounts.organizations import members, queries
from runflow.accounts.organizations.schemas import CreateMember, Role
from runflow.cli.console import console, fail
from runflow.cli.database import in_organization
from runflow.cli.tables import print_table
from runflow.db.transaction import Transaction
from runflow.web.responses import dumps

members_app = typer.Typer(add_completion=False, help="Add, list and remove the members of an organization.")

Organization = Annotated[str, typer.Argument(metavar="ORG", help="Slug of the organization.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@members_app.command()
def add(
    org: Organization,
    email: Email,
    role: Annotated[Role, typer.Option(help="What the member is to the organization.")] = Role.MEMBER,
    first_name: Annotated[str | None, typer.Option(help="First name.")] = None,
    last_name: Annotated[str | None, typer.Option(help="Last name.")] = None,
    as_json: Json = False,
) -> None:
    """Make a person a member of an organization."""
    try:
        body = CreateMember(email=email, role_code=role, first_name=first_name, last_name=last_name)
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}")
    made = in_organization(org, lambda transaction, org_id: members.add_by_operator(transaction, org_id, body))
    if as_json:
        typer.echo(dumps(made).decode())
    else:
        console.print(f"{made['email']} is a member of {org} ({made['role_code']}).", markup=False)


@members_app.command("list")
def list_all(org: Organization, as_json: Json = False) -> None:
    """List the members of an organization, the oldest first."""

    async def work(transaction: Transaction, _: UUID) -> list[queries.MemberRow]:
        return await queries.every_member(transaction)

    rows = in_organization(org, work)
    if as_json:
        typer.echo(dumps({"items": [members.record(row) for row in rows]}).decode())
        return
    if not rows:
        console.print(
            f"{org} has no members: its keys belong to nobody. Add one with: runflow orgs members add {org} EMAIL"
        )
        return
    print_table(
        ("email", "role", "name", "since", "id"),
        [
            (
                row.email,
                row.role_code,
                " ".join(part for part in (row.first_name, row.last_name) if part),
                f"{row.created_at:%Y-%m-%d}",
                str(row.id),
            )
            for row in rows
        ],
        whole=("email", "id"),
    )


@members_app.command()
def remove(org: Organization, email: Email, as_json: Json = False) -> None:
    """Remove a member, and revoke the API keys that belong to it at once, on every server process."""
    left = in_organization(org, lambda transaction, org_id: members.remove_by_operator(transaction, org_id, email))
    if as_json:
        typer.echo(dumps({"revoked": left.revoked, "made_with_them": left.made_with_them}).decode())
        return
    console.print(f"{email} is no member of {org} any more. Keys revoked: {len(left.revoked)}.", markup=False)
    if left.made_with_them:
        console.print("These keys were made with them and still work; revoke those that should not:")
        for one in left.made_with_them:
            typer.echo(one)
