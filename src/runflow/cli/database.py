"""The installation's database, for commands of the operator: they work whether a server runs or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from runflow import errors
from runflow.accounts.organizations import queries as orgs
from runflow.cli.settings import load_settings
from runflow.db.database import Database
from runflow.db.transaction import Transaction
from runflow.installation import Installation, open_installation
from runflow.logs import configure

T = TypeVar("T")


def with_database(work: Callable[[Installation, Database], Awaitable[T]]) -> T:
    """Open the installation of the settings, and return what `work` does with its database."""

    async def run(installation: Installation) -> T:
        async with installation.database() as db:
            return await work(installation, db)

    configure("console", level="warning")
    with open_installation(load_settings()) as installation:
        return asyncio.run(run(installation))


def in_transaction(work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Return what `work` does in one transaction over all organizations."""

    async def run(_: Installation, db: Database) -> T:
        async with db.system() as transaction:
            return await work(transaction)

    return with_database(run)


def in_organization(slug: str, work: Callable[[Transaction, UUID], Awaitable[T]]) -> T:
    """Return what `work` does in one transaction that sees this organization only. Raises `NotFound`."""

    async def run(_: Installation, db: Database) -> T:
        async with db.system() as transaction:
            org = await organization(transaction, slug)
        async with db.tenant(org) as transaction:
            return await work(transaction, org)

    return with_database(run)


async def organization(transaction: Transaction, slug: str | None) -> UUID:
    """Return the organization with this slug, the operator's own when there is no slug. Raises `NotFound`."""
    row = await orgs.first(transaction) if slug is None else await orgs.by_slug(transaction, slug)
    if row is None:
        raise errors.NotFound(
            f"There is no organization {slug!r}. `runflow orgs list` shows those that there are."
            if slug is not None
            else "There is no organization yet. `runflow up` makes the first one."
        )
    return row.id
