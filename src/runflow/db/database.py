"""Connections by role.

Nothing else opens a connection: a route gets one only through `Database.tenant`, which sets the tenant inside the
transaction; the queue, deliveries and sweeps use `Database.system`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from sqlalchemy import URL, make_url

from runflow import errors
from runflow.db import roles
from runflow.db.transaction import CHECKOUT_SECONDS, Pool, Transaction
from runflow.db.unit_of_work import UnitOfWork, current_unit
from runflow.master_key import MasterKey

_TENANT = "SELECT set_config('runflow.org', %(org)s, true)"
# A claim that a power cut forgets only makes its run wait again, so it need not wait for the disk.
_RELAXED = "SET LOCAL synchronous_commit = off"


def parse_url(url: str) -> URL:
    """Return a PostgreSQL URL with the driver that Runflow uses, whatever driver it named."""
    return make_url(url).set(drivername="postgresql+psycopg")


QUERY_SECONDS = 30
"""Longest that one statement of a request runs: callers choose filters, and few connections serve all of them."""


class Database:
    """The pools of one server process: one per role, and one each for what lasts as long as a caller decides."""

    def __init__(self, owner_url: URL, key: MasterKey, *, pool: int = 10) -> None:
        """Prepare `pool` connections per role, and half as many for units; none is opened before it is needed."""
        half = max(1, pool // 2)
        self.api_url = owner_url.set(username=roles.API, password=roles.password(key, roles.API))
        self.system_url = owner_url.set(username=roles.SYSTEM, password=roles.password(key, roles.SYSTEM))
        self._api = Pool(self.api_url, half, seconds=QUERY_SECONDS)
        # A list takes as long as its filter says, and a unit as long as its request: callers decide that. Apart from
        # the others', their connections can be used up without keeping a dispatch waiting, or one kind the other.
        self._lists = Pool(self.api_url, max(1, pool - half), seconds=QUERY_SECONDS)
        self._units = Pool(self.api_url, half, seconds=QUERY_SECONDS)
        self._units_of_one = max(1, half - 1)
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._system = Pool(self.system_url, pool)

    def tenant(self, org_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that sees and writes only this organization's rows; commits on a clean exit.

        Inside a unit of work of this organization it is a savepoint of that one, and commits with it.
        """
        unit = current_unit()
        if unit is not None and unit.serves(self, org_id):
            return unit.join()
        return self._api.transaction(_TENANT, {"org": str(org_id)})

    def listing(self, org_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """The same as `tenant`, for lists, whose callers choose filters: on connections of their own."""
        return self._lists.transaction(_TENANT, {"org": str(org_id)})

    def system(self, *, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction over all tenants. Only the files that `tests/db/test_database.py` lists may use it."""
        return self._system.transaction(None if durable else _RELAXED)

    @asynccontextmanager
    async def unit_of_work(self, org_id: UUID) -> AsyncIterator[UnitOfWork]:
        """Open the one transaction of a request: what it does as this organization commits on a clean exit, or not.

        Raises `Unavailable` when the organization's other units leave none to this one for too long.
        """
        unit: UnitOfWork | None = None
        try:
            async with self._turn(org_id), self._units.transaction(_TENANT, {"org": str(org_id)}) as transaction:
                unit = UnitOfWork(transaction, self, org_id)
                async with unit.entered():
                    yield unit
        finally:
            if unit is not None:
                unit.tell()

    @asynccontextmanager
    async def _turn(self, org_id: UUID) -> AsyncIterator[None]:
        turns = self._turns.setdefault(org_id, asyncio.Semaphore(self._units_of_one))
        try:
            async with asyncio.timeout(CHECKOUT_SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise errors.Unavailable(
                "Too many requests of your organization with an Idempotency-Key are under way. Try again in a moment.",
                headers={"Retry-After": "2"},
            ) from None
        try:
            yield
        finally:
            turns.release()

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()
        await self._lists.close()
        await self._units.close()
        await self._system.close()
