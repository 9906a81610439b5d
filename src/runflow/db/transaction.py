"""Transactions of the hot path: pipelined, so that statements which do not wait for each other share one round trip.

A submit, a claim and a completion are a handful of statements each. Through SQLAlchemy every one costs a round trip and
several times the CPU; here `BEGIN`, the tenant, the statements and `COMMIT` travel together, and only a statement whose
rows are asked for is waited for. Everything that is not run for every run goes through SQLAlchemy.
"""

import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import URL
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

from runflow import errors

CHECKOUT_SECONDS = 10.0
_DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]

Parameters = Mapping[str, Any]

REFUSED_VALUES = (psycopg.DataError, psycopg.IntegrityError)
"""What the database says of values that it does not take: nothing was written, and the connection is fine."""

TOOK_TOO_LONG = psycopg.errors.QueryCanceled
"""A statement was stopped at its time limit; the connection is fine."""

CONNECTION_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError)
"""The database is away, or the connection broke: nobody knows what was committed."""


class Transaction:
    """One open transaction. Placeholders are psycopg's: `%(name)s`."""

    def __init__(self, connection: "AsyncConnection[Any]") -> None:
        """Take a connection in pipeline mode."""
        self._connection = connection

    async def run(self, sql: str, parameters: Parameters | None = None) -> None:
        """Send a statement without waiting for it; its failure shows at the next wait, at the latest at the commit."""
        await self._execute(sql, parameters)

    async def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """Return all rows, as named tuples."""
        return await (await self._execute(sql, parameters)).fetchall()

    async def first(self, sql: str, parameters: Parameters | None = None) -> Any | None:
        """Return the first row, None when there is none."""
        return await (await self._execute(sql, parameters)).fetchone()

    async def one(self, sql: str, parameters: Parameters | None = None) -> Any:
        """Return the row of a statement that always has one."""
        row = await self.first(sql, parameters)
        if row is None:
            raise RuntimeError(f"A statement that always gives a row gave none: {sql.strip()[:80]}")
        return row

    async def later(self, sql: str, parameters: Parameters | None = None) -> "AsyncCursor[Any]":
        """Send a statement whose rows are fetched after the transaction: a read in one round trip, commit included."""
        return await self._execute(sql, parameters)

    async def run_clause(self, clause: ClauseElement) -> None:
        """Send a SQLAlchemy statement without bind processors (plain values only)."""
        compiled = clause.compile(dialect=_DIALECT)
        await self._execute(str(compiled), compiled.params)

    async def _execute(self, sql: str, parameters: Parameters | None) -> "AsyncCursor[Any]":
        return await self._connection.execute(sql, parameters)


class Pool:
    """The hot path's connections of one role."""

    def __init__(self, url: URL, size: int) -> None:
        """Prepare a pool of `size` connections; it opens them when it is first used."""
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            min_size=1,
            max_size=size,
            timeout=CHECKOUT_SECONDS,
            kwargs={
                "autocommit": True,
                "row_factory": namedtuple_row,
                "options": "-c timezone=UTC",
                "connect_timeout": 5,
            },
            configure=_configure,
            check=_check,
            open=False,
            name=f"runflow-{url.username}",
        )

    @asynccontextmanager
    async def transaction(self, first: str, parameters: Parameters | None = None) -> AsyncIterator[Transaction]:
        """Open a transaction that begins with the statement `first`; commits on a clean exit, else rolls back.

        Raises `Unavailable` when no connection can be had.
        """
        await self._pool.open()
        try:
            connection = await self._pool.getconn()
        except PoolTimeout:
            raise errors.Unavailable(headers={"Retry-After": "2"}) from None
        try:
            async with connection.pipeline():
                await connection.execute("BEGIN")
                await connection.execute(first, parameters)
                yield Transaction(connection)
                await connection.execute("COMMIT")
        except BaseException:
            if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
                await connection.execute("ROLLBACK")
            raise
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


async def _configure(connection: "AsyncConnection[Any]") -> None:
    set_json_loads(orjson.loads, connection)


async def _check(connection: "AsyncConnection[Any]") -> None:
    """An idle connection has nothing to read; one whose server went away has an end of file. Costs no round trip."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await connection.close()
        raise psycopg.OperationalError("the server closed this connection")
