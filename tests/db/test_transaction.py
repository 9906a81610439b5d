"""Pipelined transactions: they commit and roll back like any other, and survive a lost server connection."""

import psycopg
import pytest
from sqlalchemy import URL

from runflow.db.database import Database
from runflow.db.transaction import REFUSED_VALUES
from runflow.ids import new_id
from runflow.master_key import MasterKey

ADD = "INSERT INTO organizations (id, slug, name) VALUES (%(id)s, %(slug)s, 'x')"
COUNT = "SELECT count(*) AS found FROM organizations WHERE slug = %(slug)s"


def slug() -> str:
    return f"org-{new_id().hex[-12:]}"


async def count(db: Database, name: str) -> int:
    async with db.system() as connection:
        return int((await connection.one(COUNT, {"slug": name})).found)


async def test_statements_are_committed_together(db: Database) -> None:
    name = slug()
    async with db.system() as connection:
        await connection.run(ADD, {"id": new_id(), "slug": name})
        later = await connection.later(COUNT, {"slug": name})
    (row,) = await later.fetchall()
    assert row.found == 1
    assert await count(db, name) == 1


async def test_an_exception_rolls_back(db: Database) -> None:
    name = slug()
    with pytest.raises(RuntimeError):
        async with db.system() as connection:
            await connection.run(ADD, {"id": new_id(), "slug": name})
            raise RuntimeError
    assert await count(db, name) == 0


async def test_a_statement_that_fails_unwaited_shows_at_the_commit_and_nothing_is_kept(db: Database) -> None:
    name = slug()
    with pytest.raises(REFUSED_VALUES):
        async with db.system() as connection:
            await connection.run(ADD, {"id": new_id(), "slug": name})
            await connection.run(ADD, {"id": new_id(), "slug": name})
    assert await count(db, name) == 0


async def test_a_tenant_sees_only_its_own_rows(db: Database) -> None:
    mine, other = new_id(), new_id()
    async with db.system() as connection:
        for org in (mine, other):
            await connection.run(ADD, {"id": org, "slug": slug()})
    async with db.tenant(mine) as tenant:
        rows = await tenant.rows("SELECT id FROM organizations")
    assert [row.id for row in rows] == [mine]


async def test_connections_that_the_server_closed_are_replaced(db_url: URL, master_key: MasterKey) -> None:
    """A closed idle connection is noticed before it is used; only one that dies in use can fail a caller."""
    dsn = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    connected = "SELECT pid FROM pg_stat_activity WHERE usename = 'runflow_system'"
    with psycopg.connect(dsn, autocommit=True) as admin:
        others = [row[0] for row in admin.execute(connected)]
        database = Database(db_url, master_key, pool=2)
        try:
            assert await count(database, slug()) == 0
            of_this_pool = [row[0] for row in admin.execute(f"{connected} AND pid <> ALL (%s)", [others])]
            assert of_this_pool
            for pid in of_this_pool:
                admin.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
            assert await count(database, slug()) == 0
        finally:
            await database.close()
