"""One transaction for a whole request: what the request does and the note that it was done commit together.

Inside a unit of work `Database.tenant` of its organization joins its transaction, as a savepoint: one that fails leaves
the others as they were. Other organizations' transactions, and `Database.system`,
stay transactions of their own. Hints are held back until the end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID

from runflow.db.transaction import Transaction


class Publisher(Protocol):
    """Gives hints out: the hub of `runflow.db.notifications`, which stands above this module."""

    def publish(self, topic: str, subject: str = "") -> None:
        """Give a hint to who waits for it."""


class UnitOfWork:
    """The transaction of one request. Tasks of the request take turns with it."""

    def __init__(self, transaction: Transaction, pool: object, org_id: UUID) -> None:
        """Take an open transaction of `org_id`; `pool` is whose transactions join it."""
        self.transaction = transaction
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

    def abandon(self) -> None:
        """Undo everything: nothing of this unit is committed."""
        self.transaction.abandoned = True

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
    async def join(self) -> AsyncIterator[Transaction]:
        """Give the transaction inside a savepoint; another task of the request waits until this one is done."""
        task = asyncio.current_task()
        if self._holder is task:
            async with self.transaction.savepoint():
                yield self.transaction
            return
        async with self._turn:
            self._holder = task
            try:
                async with self.transaction.savepoint():
                    yield self.transaction
            finally:
                self._holder = None

    def hold(self, hub: Publisher, topic: str, subject: str) -> None:
        """Keep a hint until the unit has ended."""
        self._hints.append((hub, topic, subject))

    def tell(self) -> None:
        """Give out what was held back. A hint too many makes someone look in vain; one too few makes them wait."""
        for hub, topic, subject in self._hints:
            hub.publish(topic, subject)


_current: ContextVar[UnitOfWork | None] = ContextVar("unit_of_work", default=None)


def current_unit() -> UnitOfWork | None:
    """Return the unit of work of the request that this task serves; None outside of one."""
    unit = _current.get()
    return unit if unit is not None and unit.open else None
