"""The passwords of the database roles follow the master key, unless that would shut out servers that run."""

import psycopg
import pytest
from sqlalchemy import URL

from runflow.db import roles
from runflow.db.database import Database
from runflow.db.exclusive import servers_run
from runflow.db.migrate import migrate
from runflow.db.notifications import LISTENER
from runflow.master_key import MasterKey
from tests.support.application import fresh_database
from tests.support.waiting import until

OTHER = MasterKey("another key of the same database" * 2)


@pytest.fixture(scope="module")
def url(owner_url: URL) -> URL:
    return fresh_database(owner_url, "roles")


async def test_another_key_is_refused_while_a_server_runs_and_changes_nothing(url: URL, master_key: MasterKey) -> None:
    await migrate(url, master_key)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name=LISTENER):
        with pytest.raises(roles.OtherKeyInForce, match=r"Give this command theirs: .*RUNFLOW_SECRET_KEY"):
            await migrate(url, OTHER)
        await migrate(url, master_key)
        db = Database(url, master_key, pool=1)
        try:
            async with db.system() as transaction:
                assert await transaction.value("SELECT current_user::text", of=str) == roles.SYSTEM
        finally:
            await db.close()


async def test_a_key_that_nobody_else_uses_is_taken_over(url: URL, master_key: MasterKey) -> None:
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as owner:

        async def nobody_listens() -> bool:
            return not await servers_run(owner)

        await until(nobody_listens)  # a backend ends a moment after its connection
        try:
            await roles.provision(owner, OTHER)
            login = url.set(username=roles.API, password=roles.password(OTHER, roles.API), drivername="postgresql")
            async with await psycopg.AsyncConnection.connect(login.render_as_string(hide_password=False)) as connection:
                assert connection.info.user == roles.API
        finally:
            # The whole session's servers and tests share the roles.
            await roles.provision(owner, master_key)
