"""The application of the tests: empty databases, organizations, keys and callers, for fixtures and tests alike."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import psycopg
from sqlalchemy import URL
from starlette.types import ASGIApp

from runflow.accounts.keys import service as keys
from runflow.accounts.organizations import queries as orgs
from runflow.ids import new_id
from runflow.server import create_app
from runflow.settings import Settings
from runflow.web.services import Services
from tests.support.promises import check_promise

MakeKey = Callable[..., Awaitable[str]]
"""Makes an API key: `await make_key(scopes=…, org=…)`."""


def fresh_database(owner_url: URL, name: str) -> URL:
    """Make an empty database on the session's server and return its owner's URL."""
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return owner_url.set(database=name)


async def new_org(services: Services) -> Any:
    """Make an organization with a slug of its own and return its id."""
    org_id = new_id()
    async with services.db.system() as connection:
        await orgs.add(connection, org_id=org_id, slug=f"org-{org_id.hex[-12:]}", name="Test")
    return org_id


async def operator_org(services: Services) -> Any:
    """Return the id of the operator's organization, the first one of the database; made where there is none."""
    async with services.db.system() as transaction:
        first = await orgs.first(transaction)
    return await new_org(services) if first is None else first.id


async def fresh_key(services: Services, scopes: tuple[str, ...], org: Any = None) -> str:
    """Make an API key; without `org` in a fresh organization."""
    if org is None:
        org = await new_org(services)
    async with services.db.tenant(org) as connection:
        made = await keys.create(connection, org_id=org, name="test", scopes=scopes)
    key: str = made["key"]
    return key


_APPLICATIONS: dict[int, tuple[Services, Settings, ASGIApp]] = {}


def application_of(services: Services) -> ASGIApp:
    """Return the application on these parts: one for all tests, as it takes a while to make and holds nothing else."""
    known = _APPLICATIONS.get(id(services))
    if known is None or known[0] is not services or known[1] is not services.settings:
        known = _APPLICATIONS[id(services)] = (services, services.settings, create_app(services))
    return known[2]


@contextlib.asynccontextmanager
async def open_client(services: Services, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client on the application, with this key; it checks that errors are those that routes say they answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(application_of(services), raise_app_exceptions=False)
    hooks = {"response": [check_promise]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers, event_hooks=hooks
    ) as client:
        yield client
