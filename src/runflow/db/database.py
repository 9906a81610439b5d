"""Connections by role.

Nothing else opens a connection: a route gets one only through `Database.tenant`, which sets the tenant inside the
transaction; the queue, deliveries and sweeps use `Database.system`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

import orjson
from sqlalchemy import URL, TextClause, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from runflow import errors
from runflow.db import roles
from runflow.db.transaction import CHECKOUT_SECONDS, Pool, Transaction
from runflow.db.unit_of_work import UnitOfWork, current_unit
from runflow.master_key import MasterKey

_TENANT_SQL = "SELECT set_config('runflow.org', %(org)s, true)"
_RELAXED_SQL = "SET LOCAL synchronous_commit = off"

_TENANT = text("SELECT set_config('runflow.org', :org, true)")
_DURABLE = text("SELECT 1")
# A claim that a power cut forgets only makes its run wait again, so it need not wait for the disk.
_RELAXED = text("SELECT set_config('synchronous_commit', 'off', true)")


def parse_url(url: str) -> URL:
    """Return a PostgreSQL URL with the driver that Runflow uses, whatever driver it named."""
    return make_url(url).set(drivername="postgresql+psycopg")


QUERY_SECONDS = 30
"""Longest that one statement of a request runs: callers choose filters, and few connections serve all of them."""


class Database:
    """The pools of one server process: two per role, and one for units of work."""

    def __init__(self, owner_url: URL, key: MasterKey, *, pool: int = 10) -> None:
        """Prepare `pool` connections per role, half of them for the hot path; none is opened before it is needed."""
        hot = max(1, pool // 2)
        rest = max(1, pool - hot)
        self.api_url = owner_url.set(username=roles.API, password=roles.password(key, roles.API))
        self.system_url = owner_url.set(username=roles.SYSTEM, password=roles.password(key, roles.SYSTEM))
        self._api = _engine(self.api_url, rest, seconds=QUERY_SECONDS)
        # A unit holds its connection as long as its request takes, and a caller decides how long that is: apart from
        # the others', it can neither keep who sends no Idempotency-Key waiting, nor alone those who do.
        self._units = _engine(self.api_url, rest, seconds=QUERY_SECONDS)
        self._units_of_one = max(1, rest - 1)
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._system = _engine(self.system_url, rest)
        self._api_pool = Pool(self.api_url, hot)
        self._system_pool = Pool(self.system_url, hot)

    @asynccontextmanager
    async def tenant(self, org_id: UUID) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees and writes only this organization's rows; commits on a clean exit.

        Inside a unit of work of this organization it is a savepoint of that one, and commits with it.
        """
        unit = current_unit()
        if unit is not None and unit.serves(self, org_id):
            async with unit.join() as connection:
                yield connection
            return
        async with _begin(self._api, _TENANT, {"org": str(org_id)}) as connection:
            yield connection

    @asynccontextmanager
    async def system(self, *, durable: bool = True) -> AsyncIterator[AsyncConnection]:
        """Open a transaction over all tenants. Only the files that `tests/db/test_database.py` lists may use it."""
        async with _begin(self._system, _DURABLE if durable else _RELAXED, {}) as connection:
            yield connection

    def tenant_pipeline(self, org_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """The same as `tenant`, for statements of the hot path (see `runflow.db.transaction`)."""
        unit = current_unit()
        if unit is not None and unit.serves(self, org_id):
            return unit.join_pipeline()
        return self._api_pool.transaction(_TENANT_SQL, {"org": str(org_id)})

    @asynccontextmanager
    async def unit_of_work(self, org_id: UUID) -> AsyncIterator[UnitOfWork]:
        """Open the one transaction of a request: what it does as this organization commits on a clean exit, or not.

        Raises `Unavailable` when the organization's other units leave none to this one for too long.
        """
        unit: UnitOfWork | None = None
        try:
            async with self._turn(org_id), _begin(self._units, _TENANT, {"org": str(org_id)}) as connection:
                unit = UnitOfWork(connection, self, org_id)
                async with unit.entered():
                    yield unit
        finally:
            if unit is not None:
                unit.tell()

    def system_pipeline(self, *, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """The same as `system`, for statements of the hot path."""
        return self._system_pool.transaction(None if durable else _RELAXED_SQL)

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
        await self._api_pool.close()
        await self._system_pool.close()
        await self._api.dispose()
        await self._units.dispose()
        await self._system.dispose()


def _engine(url: URL, pool: int, *, seconds: int = 0) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=pool,
        max_overflow=0,
        pool_timeout=CHECKOUT_SECONDS,
        pool_reset_on_return=None,
        json_serializer=lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode(),
        json_deserializer=orjson.loads,
        # Errors are logged, and parameters are what callers sent.
        hide_parameters=True,
        connect_args={"connect_timeout": 5, "options": f"-c timezone=UTC -c statement_timeout={seconds}s"},
    )


@asynccontextmanager
async def _begin(engine: AsyncEngine, first: TextClause, values: dict[str, str]) -> AsyncIterator[AsyncConnection]:
    """Begin with a first statement. A pooled connection whose server went away shows there and is replaced once."""
    for last in (False, True):
        connection = await engine.connect()
        try:
            await connection.execute(first, values)
        except DBAPIError as error:
            await connection.close()
            if last or not error.connection_invalidated:
                raise
            continue
        except BaseException:
            await connection.close()
            raise
        break
    try:
        yield connection
        await connection.commit()
    except BaseException:
        if not connection.closed and not connection.invalidated:
            await connection.rollback()
        raise
    finally:
        await connection.close()
