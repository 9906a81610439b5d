"""An outbox of its own: the application's engine works on the suite's shared database and would take what is tested."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import URL

from runflow.db.database import Database
from runflow.db.migrate import migrate
from runflow.db.notifications import Hub
from runflow.master_key import MasterKey
from tests.deliveries.outbox import Outbox


@pytest.fixture(scope="session")
async def outbox_parts(owner_url: URL, master_key: MasterKey) -> AsyncIterator[Outbox]:
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE outbox")
    url = owner_url.set(database="outbox")
    await migrate(url, master_key)
    parts = Outbox(Database(url, master_key, pool=5), Hub(url))
    parts.hub = Hub(parts.db.system_url)
    await parts.hub.start()
    yield parts
    await parts.hub.stop()
    await parts.db.close()


@pytest.fixture
async def outbox(outbox_parts: Outbox) -> Outbox:
    """An empty outbox."""
    async with outbox_parts.db.system() as transaction:
        await transaction.run("DELETE FROM delivery_attempts")
        await transaction.run("DELETE FROM deliveries")
    return outbox_parts
