"""Transactions of the hot path: pipelined, so that statements which do not wait for each other share one round trip.

A submit, a claim and a completion are a handful of statements each. Through SQLAlchemy every one costs a round trip and
several times the CPU; here `BEGIN`, the tenant, the statements and `COMMIT` travel together (`wire.py`), and only a
statement whose rows are asked for is waited for. Everything that is not run for every run goes through SQLAlchemy.
"""

import contextlib
import select
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import URL
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

from runflow import errors
from runflow.db.wire import Parameters, Wire

CHECKOUT_SECONDS = 10.0
_DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]

_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "timezone=UTC",
        # Durable unless a transaction says otherwise, whatever the database's own default is.
        "synchronous_commit=on",
        # No statement here is ever worth compiling.
        "jit=off",
        # A statement whose connection was given up must not go on waiting for a lock, and keep what it has locked.
        "client_connection_check_interval=1s",
    )
)

REFUSED_VALUES = (psycopg.DataError, psycopg.IntegrityError)
"""What the database says of values that it does not take: nothing was written, and the connection is fine."""

TOOK_TOO_LONG = psycopg.errors.QueryCanceled
"""A statement was stopped at its time limit; the connection is fine."""

CONNECTION_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError)
"""The database is away, or the connection broke: nobody knows what was committed."""


class Fetched(Protocol):
    """The rows of a statement, as named tuples, once it was executed."""

    async def fetchone(self) -> Any | None:
        """Return the next row, None after the last."""

    async def fetchall(self) -> list[Any]:
        """Return the rows that were not fetched yet."""


class Transaction(ABC):
    """One open transaction. Placeholders are psycopg's: `%(name)s`."""

    async def run(self, sql: str, parameters: Parameters | None = None) -> None:
        """Have a statement executed; its failure shows at the next wait, at the latest at the commit."""
        await self.later(sql, parameters)

    async def rows(self, sql: str, parameters: Parameters | None = None) -> list[Any]:
        """Return all rows, as named tuples."""
        return await (await self._now(sql, parameters)).fetchall()

    async def first(self, sql: str, parameters: Parameters | None = None) -> Any | None:
        """Return the first row, None when there is none."""
        return await (await self._now(sql, parameters)).fetchone()

    async def one(self, sql: str, parameters: Parameters | None = None) -> Any:
        """Return the row of a statement that always has one."""
        row = await self.first(sql, parameters)
        if row is None:
            raise RuntimeError(f"A statement that always gives a row gave none: {sql.strip()[:80]}")
        return row

    @abstractmethod
    async def later(self, sql: str, parameters: Parameters | None = None) -> Fetched:
        """Have a statement executed whose rows are fetched after the next wait, or after the transaction."""

    @abstractmethod
    async def run_clause(self, clause: ClauseElement) -> None:
        """Have a SQLAlchemy statement without bind processors (plain values only) executed."""

    @abstractmethod
    async def _now(self, sql: str, parameters: Parameters | None) -> Fetched:
        """Execute a statement, and all before it."""


class _Pipelined(Transaction):
    """Statements gather until one is waited for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def later(self, sql: str, parameters: Parameters | None = None) -> Fetched:
        return self._wire.add(sql, parameters)

    async def run_clause(self, clause: ClauseElement) -> None:
        self._wire.add(*compiled(clause), prepare=False)

    async def _now(self, sql: str, parameters: Parameters | None) -> Fetched:
        found = self._wire.add(sql, parameters)
        await self._wire.exchange()
        return found


def compiled(clause: ClauseElement) -> tuple[str, Parameters]:
    """Return a SQLAlchemy statement as text and parameters of the driver."""
    found = clause.compile(dialect=_DIALECT)
    return str(found), found.params


class _Connection(AsyncConnection[Any]):
    """A connection of the hot path."""

    wire: Wire


class Pool:
    """The hot path's connections of one role."""

    def __init__(self, url: URL, size: int) -> None:
        """Prepare a pool of `size` connections; it opens them when it is first used."""
        self._pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            connection_class=_Connection,
            min_size=1,
            max_size=size,
            timeout=CHECKOUT_SECONDS,
            kwargs={"autocommit": True, "options": _OPTIONS, "connect_timeout": 5},
            configure=_configure,
            check=_check,
            open=False,
            name=f"runflow-{url.username}",
        )

    @asynccontextmanager
    async def transaction(
        self, first: str | None = None, parameters: Parameters | None = None
    ) -> AsyncIterator[Transaction]:
        """Open a transaction, which may begin with the statement `first`; commits on a clean exit, else rolls back.

        Raises `Unavailable` when no connection can be had.
        """
        if self._pool.closed:
            await self._pool.open()
        try:
            connection = await self._pool.getconn()
        except PoolTimeout:
            raise errors.Unavailable(headers={"Retry-After": "2"}) from None
        wire = connection.wire
        try:
            wire.add("BEGIN")
            if first is not None:
                wire.add(first, parameters)
            yield _Pipelined(wire)
            wire.add("COMMIT")
            await wire.exchange()
        except BaseException:
            await _undo(connection)
            raise
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


async def _configure(connection: _Connection) -> None:
    set_json_loads(orjson.loads, connection)
    connection.wire = Wire(connection)


async def _undo(connection: _Connection) -> None:
    """Roll back what was not committed; a connection in the middle of something is given up."""
    wire = connection.wire
    with contextlib.suppress(psycopg.Error):
        if not wire.interrupted:
            await wire.exchange()  # what was added and not sent, so that it cannot come between the others
        if not wire.interrupted and connection.info.transaction_status is not TransactionStatus.IDLE:
            wire.add("ROLLBACK")
            await wire.exchange()
    if wire.interrupted:
        await connection.close()


async def _check(connection: _Connection) -> None:
    """An idle connection has nothing to read; one whose server went away has an end of file. Costs no round trip."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await connection.close()
        raise psycopg.OperationalError("the server closed this connection")
