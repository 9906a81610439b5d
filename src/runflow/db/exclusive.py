"""The database for one command alone: no server process beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import URL

from runflow.db.notifications import LISTENER

_LOCK = 7_201_946_114
_ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(%s)"
_LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"


class ServersRun(Exception):
    """Server processes use this database. Stop them all (`runflow up`, on every machine), then try again."""

    def __str__(self) -> str:
        return type(self).__doc__ or ""


@asynccontextmanager
async def exclusive(owner_url: URL) -> "AsyncIterator[psycopg.AsyncConnection[Any]]":
    """Give a connection of the schema's owner while no server runs and no other command has this place.

    Raises `ServersRun`.
    """
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        locked = await (await connection.execute(_ONE_AT_A_TIME, [_LOCK])).fetchone()
        if locked is None or not locked[0]:
            raise ServersRun
        await require_no_server(connection)
        yield connection


async def require_no_server(connection: "psycopg.AsyncConnection[Any]") -> None:
    """Raise `ServersRun` when a server process uses this database."""
    if await servers_run(connection):
        raise ServersRun


async def servers_run(connection: "psycopg.AsyncConnection[Any]") -> bool:
    """Tell whether a server process uses this database."""
    servers = await (await connection.execute(_LISTENERS, [LISTENER])).fetchone()
    return servers is None or bool(servers[0])
