"""Who in this process waits for the end of a run, and is shown the run by the transaction that ends it.

A caller that waits wants to see the run as soon as it has ended. Read by the transaction that ends it, that costs no
exchange with the database and no transaction of its own. What a caller sees is not the queue's business: it brings the
statement along.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from runflow.db.transaction import Fetched, Transaction
from runflow.web.services import Services

RowT = TypeVar("RowT")
Read = Callable[[Transaction, UUID], Awaitable[Fetched[RowT]]]
"""Sends the statement that reads a run, and waits for nothing."""


@dataclass(eq=False, slots=True)
class Watcher(Generic[RowT]):
    """Somebody who waits for a run's end."""

    read: Read[RowT]
    row: RowT | None = None
    """The run as the transaction that ended it left it; None where it did not end in this process, or not yet."""


@dataclass(frozen=True, slots=True)
class Look:
    """A statement that reads a run for all who watch it by the same one."""

    run_id: UUID
    read: Read[Any]
    fetched: Fetched[Any]


class Watchers:
    """The watchers of one process, by run."""

    def __init__(self, _services: Services) -> None:
        """Begin with nobody."""
        self._of_run: dict[UUID, list[Watcher[Any]]] = {}

    def __contains__(self, run_id: UUID) -> bool:
        """Tell whether anybody watches this run."""
        return run_id in self._of_run

    @contextlib.contextmanager
    def watching(self, run_id: UUID, read: Read[RowT]) -> Iterator[Watcher[RowT]]:
        """Watch a run for as long as the block lasts."""
        watcher = Watcher(read)
        self._of_run.setdefault(run_id, []).append(watcher)
        try:
            yield watcher
        finally:
            self._of_run[run_id].remove(watcher)
            if not self._of_run[run_id]:
                del self._of_run[run_id]

    async def look(self, transaction: Transaction, run_id: UUID) -> list[Look]:
        """Send, as the last statements of a transaction, those that read a run for who watches it: each only once."""
        reads = {watcher.read for watcher in self._of_run.get(run_id, ())}
        return [Look(run_id, read, await read(transaction, run_id)) for read in reads]

    async def tell(self, looks: list[Look]) -> None:
        """Show what was read, after the commit and before the hint of the end."""
        for look in looks:
            row = await look.fetched.fetchone()
            for watcher in self._of_run.get(look.run_id, ()):
                if watcher.read == look.read:
                    watcher.row = row
