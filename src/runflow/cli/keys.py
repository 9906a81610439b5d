"""`runflow keys`: API keys and worker tokens, without going through the API."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from runflow import errors
from runflow.accounts.keys import queries, service
from runflow.accounts.keys.scopes import ALL_SCOPES, OPERATOR_SCOPES, tenant_scopes
from runflow.accounts.keys.tables import ApiKeyRow
from runflow.accounts.organizations import queries as orgs
from runflow.cli.console import WRONG_CALL, console, fail
from runflow.cli.database import in_transaction, organization, with_database
from runflow.cli.settings import load_settings
from runflow.cli.tables import print_table
from runflow.db.database import Database
from runflow.db.transaction import Transaction
from runflow.installation import Installation, announce_key_change, first_steps, open_installation
from runflow.key_rotation import rotate
from runflow.logs import configure
from runflow.master_key import (
    FILE,
    NEXT_FILE,
    CannotDecrypt,
    MasterKey,
    discard_next,
    load_current,
    load_or_create_next,
    promote_next,
)
from runflow.web.responses import dumps

app = typer.Typer(
    add_completion=False, help="Create, list and revoke API keys and worker tokens.", no_args_is_help=True
)

Organization = Annotated[str | None, typer.Option("--org", help="Slug of the organization; default: the first one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="May be given several times; default: all.")] = None,
    org: Organization = None,
    days: Annotated[int | None, typer.Option(help="The key ends after so many days; default: never.", min=1)] = None,
    rate_limit: Annotated[
        int | None,
        typer.Option(help="Most requests per second; default: the server's RUNFLOW_RATE_LIMIT.", min=1, max=1_000_000),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an API key and print it, this once."""
    unknown = [one for one in scope or () if one not in ALL_SCOPES]
    if unknown:
        fail(f"There is no scope {unknown[0]!r}. The scopes are: {', '.join(ALL_SCOPES)}", WRONG_CALL)

    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = make_key(name, scope, org=org, expires_at=ends, rate_limit_per_second=rate_limit)
    if as_json:
        typer.echo(dumps(made).decode())
    else:
        console.print(f"API key [bold]{name}[/], shown this once:")
        typer.echo(made["key"])


def make_key(
    name: str, scopes: Sequence[str] | None = None, *, org: str | None = None, **values: Any
) -> dict[str, Any]:
    """Make an API key on this installation, as its operator, and return its record with `key`.

    `scopes`: all that a key of the organization can hold, where there are none; `org`: its slug, else the first one;
    `values` as of the service's `create`.
    """

    async def run(installation: Installation, db: Database) -> dict[str, Any]:
        await first_steps(installation, db)
        async with db.system() as transaction:
            org_id = await organization(transaction, org)
            allowed = await _scopes(transaction, org_id, scopes)
            return await service.create_by_operator(transaction, org_id=org_id, name=name, scopes=allowed, **values)

    return with_database(run)


@app.command("list")
def list_all(org: Organization = None, as_json: Json = False) -> None:
    """List an organization's API keys, without their secrets: what each is for, what it may do, when it was used."""

    async def work(transaction: Transaction) -> list[ApiKeyRow]:
        return await queries.every(transaction, await organization(transaction, org))

    rows = in_transaction(work)
    if as_json:
        typer.echo(dumps({"items": [service.record(row) for row in rows]}).decode())
        return
    now = datetime.now(UTC)
    print_table(
        ("id", "name", "begins with", "state", "made", "last used", "may"),
        [
            (
                str(row.id),
                row.name,
                row.key_prefix,
                _state(row, now),
                f"{row.created_at:%Y-%m-%d}",
                _used(row),
                _may(row),
            )
            for row in rows
        ],
        whole=("id", "name", "begins with", "state"),
    )


def _used(row: ApiKeyRow) -> str:
    return "never" if row.last_used_at is None else f"{row.last_used_at:%Y-%m-%d %H:%M}"


def _may(row: ApiKeyRow) -> str:
    return "everything" if set(ALL_SCOPES) <= set(row.scopes) else ", ".join(row.scopes)


def _state(row: ApiKeyRow, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "works"
    return f"works until {row.expires_at:%Y-%m-%d}" if row.expires_at > now else "at its end"


@app.command("list-workers")
def list_workers(as_json: Json = False) -> None:
    """List the worker tokens, without their secrets, and which workers registered with each."""
    rows = in_transaction(queries.every_worker_token)
    if as_json:
        typer.echo(dumps({"items": rows}).decode())
        return
    print_table(
        ("id", "name", "state", "made", "workers"),
        [
            (
                str(row.id),
                row.name,
                "works" if row.revoked_at is None else "revoked",
                f"{row.created_at:%Y-%m-%d}",
                ", ".join(row.workers),
            )
            for row in rows
        ],
    )


@app.command()
def revoke(key_id: Annotated[UUID, typer.Argument(help="The key's id.")], as_json: Json = False) -> None:
    """Revoke an API key at once, on every server process."""

    async def run(installation: Installation) -> list[UUID] | None:
        async with installation.database() as db, db.system() as transaction:
            return await service.revoke_by_operator(transaction, key_id)

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        made_with_it = asyncio.run(run(installation))
        if made_with_it is None:
            fail(f"There is no API key {key_id}.")
    if as_json:
        typer.echo(dumps({"id": key_id, "made_with_it": made_with_it}).decode())
        return
    console.print(f"Revoked {key_id}.")
    if made_with_it:
        console.print("These keys were made with it and still work; revoke those that should not:")
        for one in made_with_it:
            typer.echo(one)


@app.command("create-worker")
def create_worker(
    name: Annotated[str, typer.Option(help="Which machine the token is for.")], as_json: Json = False
) -> None:
    """Create a worker token and print it, this once."""

    async def run(installation: Installation) -> tuple[UUID, str]:
        async with installation.database() as db, db.system() as transaction:
            return await service.create_worker_token(transaction, name)

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        token_id, token = asyncio.run(run(installation))
    if as_json:
        typer.echo(dumps({"id": token_id, "name": name, "token": token}).decode())
    else:
        console.print(f"Worker token [bold]{name}[/] (id {token_id}), shown this once:")
        typer.echo(token)


@app.command("revoke-worker")
def revoke_worker(
    token_id: Annotated[UUID, typer.Argument(help="The token's id, as create-worker gave it.")], as_json: Json = False
) -> None:
    """Revoke a worker token at once, on every server process."""

    async def run(installation: Installation) -> bool:
        async with installation.database() as db:
            async with db.system() as transaction:
                found = await queries.revoke_worker_token(transaction, token_id)
            await announce_key_change(db)
            return found

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        if not asyncio.run(run(installation)):
            fail(f"There is no worker token {token_id}.")
    if as_json:
        typer.echo(dumps({"id": token_id}).decode())
    else:
        console.print(f"Revoked {token_id}.")


@app.command("rotate-master")
def rotate_master(
    new_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the new key, where RUNFLOW_SECRET_KEY holds the present one.", exists=True),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replace the master key and put everything that depends on it under the new one. Stop every server first."""
    configure("console", level="warning")
    settings = load_settings()
    if (settings.secret_key is None) is not (new_key_file is None):
        fail(
            "RUNFLOW_SECRET_KEY holds the master key: give the new one with --new-key-file."
            if new_key_file is None
            else "The master key is in secret.key and its successor is made here: leave --new-key-file out."
        )
    with open_installation(settings, load_key=load_current) as installation:
        if new_key_file is None:
            count = _rotate_file(installation)
        else:
            new = MasterKey(new_key_file.read_text().strip())
            count = asyncio.run(rotate(installation, lambda: new))
    if as_json:
        typer.echo(dumps({"sealed_secrets": count}).decode())
    console.print(f"The master key is a new one; {count} stored secrets were sealed under it.")
    console.print("Signed URLs given out before are not valid any more. API keys and worker tokens stay as they are.")
    if new_key_file is None:
        console.print(f"Copy {settings.home_dir / FILE} to the other server machines, if there are any.")
    else:
        console.print(f"Now set RUNFLOW_SECRET_KEY to the content of {new_key_file} for every server.")


def _rotate_file(installation: Installation) -> int:
    home = installation.settings.home_dir
    begins = not (home / NEXT_FILE).exists()
    try:
        count = asyncio.run(rotate(installation, lambda: load_or_create_next(home)))
    except CannotDecrypt:
        # Every secret is sealed anew, or none is. What an earlier rotation has done needs its key.
        if begins:
            discard_next(home)
        raise
    promote_next(home)
    return count


async def _scopes(transaction: Transaction, org_id: UUID, wanted: Sequence[str] | None) -> Sequence[str]:
    """Return the scopes of a new key: those wanted, else all that one of this organization can hold."""
    first = await orgs.first(transaction)
    if first is None or first.id == org_id:
        return wanted or ALL_SCOPES
    for scope in wanted or ():
        if scope in OPERATOR_SCOPES:
            raise errors.PermissionDenied(
                f"Only keys of the operator's organization, {first.slug!r}, hold `{scope}`: leave it out."
            )
    return wanted or tenant_scopes(ALL_SCOPES)
