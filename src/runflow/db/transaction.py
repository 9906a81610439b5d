"""The one road to the database: transactions whose statements share round trips.

Statements gather until somebody waits for rows; then `BEGIN`, the tenant, the statements and, at the end, `COMMIT`
travel together (`wire.py`), so that a transaction of a few statements is one or two exchanges. SQLAlchemy Core may
build a statement (`statements.py`); nothing of it runs one. Rows are of the class that the caller names (`rows.py`).
"""

import contextlib
import select
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import URL
from sqlalchemy.sql import ClauseElement

from runflow import errors
from runflow.db.rows import single_value
from runflow.db.statements import Parameters, compiled
from runflow.db.wire import MadeOf, Rows, Wire, rows_of

CHECKOUT_SECONDS = 10.0

_OPTIONS = (
    "timezone=UTC",
    # Durable unless a transaction says otherwise, whatever the database's own default is.
    "synchronous_commit=on",
    # No statement here is ever worth compiling.
    "jit=off",
    # A statement whose connection was given up must not go on waiting for a lock, and keep what it has locked.
    "client_connection_check_interval=1s",
)

REFUSED_VALUES = (psycopg.DataError, psycopg.IntegrityError)
"""What the database says of values that it does not take: nothing was written, and the connection is fine."""

Violation = psycopg.IntegrityError
"""A constraint refused the values, and the connection is fine; `error.diag.constraint_name` tells which."""

TOOK_TOO_LONG = psycopg.errors.QueryCanceled
"""A statement was stopped at its time limit; the connection is fine."""

CONNECTION_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError)
"""The database is away, or the connection broke: nobody knows what was committed."""


class NoConnection(errors.Unavailable):
    """No connection to the database could be had in time."""


RowT = TypeVar("RowT")

Statement = str | ClauseElement
"""SQL with psycopg's placeholders (`%(name)s`), or what SQLAlchemy Core built."""


class Fetched(Protocol[RowT]):
    """The rows of a statement, once it was executed."""

    async def fetchone(self) -> RowT | None:
        """Return the next row, None after the last."""

    async def fetchall(self) -> list[RowT]:
        """Return the rows that were not fetched yet."""


class Transaction:
    """One open transaction. One task uses it at a time."""

    def __init__(self, wire: Wire) -> None:
        """Take a connection on which a transaction was begun."""
        self._wire = wire
        self._savepoints = 0
        self.abandoned = False
        """Whether the transaction is to end with nothing kept, though no exception is raised."""

    async def run(self, statement: Statement, parameters: Parameters | None = None) -> None:
        """Have a statement executed; its failure shows at the next wait, at the latest at the commit."""
        self._ask(statement, parameters, _single)

    async def change(self, statement: Statement, parameters: Parameters | None = None) -> int:
        """Execute a statement, and return how many rows it changed."""
        found = self._ask(statement, parameters, _single)
        await self._wire.exchange()
        return await found.count()

    async def rows(self, statement: Statement, parameters: Parameters | None = None, *, row: type[RowT]) -> list[RowT]:
        """Return all rows."""
        return await (await self._now(statement, parameters, row)).fetchall()

    async def first(
        self, statement: Statement, parameters: Parameters | None = None, *, row: type[RowT]
    ) -> RowT | None:
        """Return the first row, None when there is none."""
        return await (await self._now(statement, parameters, row)).fetchone()

    async def one(self, statement: Statement, parameters: Parameters | None = None, *, row: type[RowT]) -> RowT:
        """Return the row of a statement that always has one."""
        found = await self.first(statement, parameters, row=row)
        if found is None:
            raise RuntimeError(f"A statement that always gives a row gave none: {str(statement).strip()[:80]}")
        return found

    async def values(self, statement: Statement, parameters: Parameters | None = None, *, of: type[RowT]) -> list[RowT]:
        """Return the values of a statement's one column, which are `of` this type."""
        found: Rows[RowT] = self._ask(statement, parameters, _single)
        return await found.fetchall()

    async def value(self, statement: Statement, parameters: Parameters | None = None, *, of: type[RowT]) -> RowT | None:
        """Return the one column of the first row, None when there is no row or it holds NULL."""
        found: Rows[RowT] = self._ask(statement, parameters, _single)
        return await found.fetchone()

    async def one_value(self, statement: Statement, parameters: Parameters | None = None, *, of: type[RowT]) -> RowT:
        """Return the one column of a statement that always has a row and a value."""
        found = await self.value(statement, parameters, of=of)
        if found is None:
            raise RuntimeError(f"A statement that always gives a value gave none: {str(statement).strip()[:80]}")
        return found

    async def later(
        self, statement: Statement, parameters: Parameters | None = None, *, row: type[RowT]
    ) -> Fetched[RowT]:
        """Have a statement executed whose rows are fetched after the next wait, or after the transaction."""
        return self._ask(statement, parameters, rows_of(row))

    async def made(self, statement: Statement, parameters: Parameters | None, made_of: MadeOf[RowT]) -> list[RowT]:
        """Return all rows, made by what `made_of` returns for their columns."""
        return await self._ask(statement, parameters, made_of).fetchall()

    async def stream(
        self, statement: Statement, parameters: Parameters | None, made_of: MadeOf[RowT], *, at_once: int
    ) -> AsyncGenerator[RowT, None]:
        """Yield rows as `made` returns them, of which at most `at_once` are read from the database together."""
        sql, values, _ = _text(statement, parameters)
        name = self._name("cursor")
        self._wire.ask(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", values, _single, built=True)
        while True:
            found = await self._wire.ask(f"FETCH {at_once} FROM {name}", None, made_of, built=True).fetchall()
            for one in found:
                yield one
            if len(found) < at_once:
                break

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Keep what the block does, or nothing of it when it raises. The transaction goes on either way."""
        if self._wire.waits:
            await self._wire.exchange()  # what fails out of it is not the block's
        name = self._name("savepoint")
        self._wire.add(f"SAVEPOINT {name}")
        try:
            yield
            self._wire.add(f"RELEASE {name}")
            await self._wire.exchange()
        except BaseException:
            if not self._wire.interrupted:
                with contextlib.suppress(psycopg.Error):
                    await self._wire.exchange()
                self._wire.add(f"ROLLBACK TO {name}")
                await self._wire.exchange()
            raise

    def _name(self, kind: str) -> str:
        self._savepoints += 1
        return f"{kind}_{self._savepoints}"

    async def _now(self, statement: Statement, parameters: Parameters | None, row: type[RowT]) -> Fetched[RowT]:
        """Execute a statement, and all before it."""
        found = self._ask(statement, parameters, rows_of(row))
        await self._wire.exchange()
        return found

    def _ask(self, statement: Statement, parameters: Parameters | None, made_of: MadeOf[RowT]) -> Rows[RowT]:
        sql, values, built = _text(statement, parameters)
        return self._wire.ask(sql, values, made_of, built=built)


def _single(_columns: tuple[str, ...]) -> Any:
    return single_value


def _text(statement: Statement, parameters: Parameters | None) -> tuple[str, Parameters | None, bool]:
    """Return a statement's text and values, and whether it was built for this call."""
    if isinstance(statement, str):
        return statement, parameters, False
    return *compiled(statement, parameters), True


class _Connection(AsyncConnection[Any]):
    """A connection with what sends and reads on it."""

    wire: Wire


class _LatestFirst(deque[_Connection]):
    """Idle connections, of which the one that came back last goes first: few do all the work, and those are warm.

    A backend plans each statement anew for its first uses and fills its own caches, so taking turns over ten costs
    PostgreSQL a third more CPU per run than staying with those that are needed.
    """

    def popleft(self) -> _Connection:
        return self.pop()


class Pool:
    """The connections of one role."""

    def __init__(self, url: URL, size: int, *, seconds: int = 0) -> None:
        """Prepare a pool of `size` connections; it opens them when it is first used.

        With `seconds`, a statement that runs longer is stopped.
        """
        options = " ".join(f"-c {setting}" for setting in (*_OPTIONS, f"statement_timeout={seconds}s"))
        self._pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            connection_class=_Connection,
            min_size=1,
            max_size=size,
            timeout=CHECKOUT_SECONDS,
            kwargs={"autocommit": True, "options": options, "connect_timeout": 5},
            configure=_configure,
            check=_check,
            open=False,
            name=f"runflow-{url.username}",
        )
        self._pool._pool = _LatestFirst()  # the pool has no setting for it; tests/db/test_transaction.py holds it

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
            raise NoConnection(headers={"Retry-After": "2"}) from None
        wire = connection.wire
        try:
            wire.add("BEGIN")
            if first is not None:
                wire.add(first, parameters)
            transaction = Transaction(wire)
            yield transaction
            wire.add("ROLLBACK" if transaction.abandoned else "COMMIT")
            await wire.exchange()
        except BaseException:
            await _undo(connection)
            raise
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


async def _configure(connection: _Connection) -> None:
    set_json_loads(orjson.loads, connection)
    set_json_dumps(_dumps, connection)
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
