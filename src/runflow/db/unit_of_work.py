"""One transaction for a whole request: what the request does and the note that it was done commit together.

Inside a unit of work `Database.tenant` and `Database.tenant_pipeline` of its organization join its transaction, each as
a savepoint: one that fails leaves the others as they were. Other organizations' transactions, and `Database.system`,
stay transactions of their own. Hints are held back until the end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

from runflow.db.transaction import Fetched, Transaction, compiled
from runflow.db.wire import Parameters


class Publisher(Protocol):
    """Gives hints out: the hub of `runflow.db.notifications`, which stands above this module."""

    def publish(self, topic: str, subject: str = "") -> None:
        """Give a hint to who waits for it."""


class UnitOfWork:
    """The transaction of one request. Tasks of the request take turns on its connection."""

    def __init__(self, connection: AsyncConnection, pool: object, org_id: UUID) -> None:
        """Take an open transaction of `org_id`; `pool` is whose transactions join it."""
        self.connection = connection
        self._of = (pool, org_id)
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._hints: list[tuple[Publisher, str, str]] = []
        self._open = True

    def serves(self, pool: object, org_id: UUID) -> bool:
        """Tell whether a transaction of this organization belongs to this unit."""
        return self._of == (pool, org_id)

    @property
    def open(self) -> bool:
        """False once the unit has ended: a task that outlives its request has transactions of its own again."""
        return self._open

    async def abandon(self) -> None:
        """Undo everything: nothing of this unit is committed."""
        await self.connection.rollback()

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Be the unit of this task, and of the tasks that it starts, until the end of the block."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            async with self._turn:
                self._open = False

    @asynccontextmanager
    async def join(self) -> AsyncIterator[AsyncConnection]:
        """Give the connection inside a savepoint; another task of the request waits until this one is done."""
        task = asyncio.current_task()
        if self._holder is task:
            async with self.connection.begin_nested():
                yield self.connection
            return
        async with self._turn:
            self._holder = task
            try:
                async with self.connection.begin_nested():
                    yield self.connection
            finally:
                self._holder = None

    @asynccontextmanager
    async def join_pipeline(self) -> AsyncIterator[Transaction]:
        """The same for statements of the hot path."""
        async with self.join() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            async with driver.pipeline():
                yield _Joined(driver)

    def hold(self, hub: Publisher, topic: str, subject: str) -> None:
        """Keep a hint until the unit has ended."""
        self._hints.append((hub, topic, subject))

    def tell(self) -> None:
        """Give out what was held back. A hint too many makes someone look in vain; one too few makes them wait."""
        for hub, topic, subject in self._hints:
            hub.publish(topic, subject)


class _Joined(Transaction):
    """A transaction on SQLAlchemy's connection: each statement by itself, its rows named as the hot path names them."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection

    async def later(self, sql: str, parameters: Parameters | None = None) -> Fetched:
        return await self._now(sql, parameters)

    async def run_clause(self, clause: ClauseElement) -> None:
        await self._now(*compiled(clause))

    async def _now(self, sql: str, parameters: Parameters | None) -> Fetched:
        cursor = self._connection.cursor(row_factory=namedtuple_row)
        await cursor.execute(sql, parameters)
        return cursor


_current: ContextVar[UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def current_unit() -> UnitOfWork | None:
    """Return the unit of work of the request that this task serves; None outside of one."""
    unit = _current.get()
    return unit if unit is not None and unit.open else None
