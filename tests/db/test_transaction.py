"""Transactions: they commit and roll back like any other, and survive a lost server connection."""

from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import URL, Integer, insert, literal_column, select

from runflow.accounts.organizations.tables import organizations
from runflow.db.database import Database
from runflow.db.transaction import REFUSED_VALUES, Violation
from runflow.db.wire import rows_of
from runflow.ids import new_id
from runflow.master_key import MasterKey

ADD = "INSERT INTO organizations (id, slug, name) VALUES (%(id)s, %(slug)s, 'x')"
COUNT = "SELECT count(*) AS found FROM organizations WHERE slug = %(slug)s"


@dataclass(frozen=True, slots=True)
class Count:
    found: int


@dataclass(frozen=True, slots=True)
class Number:
    number: int


def slug() -> str:
    return f"org-{new_id().hex[-12:]}"


async def count(db: Database, name: str) -> int:
    async with db.system() as transaction:
        return await transaction.one_value(COUNT, {"slug": name}, of=int)


async def test_statements_are_committed_together(db: Database) -> None:
    name = slug()
    async with db.system() as transaction:
        await transaction.run(ADD, {"id": new_id(), "slug": name})
        later = await transaction.later(COUNT, {"slug": name}, row=Count)
    assert await later.fetchall() == [Count(1)]
    assert await count(db, name) == 1


async def test_an_exception_rolls_back(db: Database) -> None:
    name = slug()
    with pytest.raises(RuntimeError):
        async with db.system() as transaction:
            await transaction.run(ADD, {"id": new_id(), "slug": name})
            raise RuntimeError
    assert await count(db, name) == 0


async def test_a_statement_that_fails_unwaited_shows_at_the_commit_and_nothing_is_kept(db: Database) -> None:
    name = slug()
    with pytest.raises(REFUSED_VALUES):
        async with db.system() as transaction:
            await transaction.run(ADD, {"id": new_id(), "slug": name})
            await transaction.run(ADD, {"id": new_id(), "slug": name})
    assert await count(db, name) == 0


async def test_a_tenant_sees_only_its_own_rows(db: Database) -> None:
    mine, other = new_id(), new_id()
    async with db.system() as transaction:
        for org in (mine, other):
            await transaction.run(ADD, {"id": org, "slug": slug()})
    async with db.tenant(mine) as tenant:
        assert await tenant.values("SELECT id FROM organizations", of=UUID) == [mine]


async def test_the_connection_that_was_used_last_is_used_next(db_url: URL, master_key: MasterKey) -> None:
    database = Database(db_url, master_key, pool=4)
    pid = "SELECT pg_backend_pid()"
    try:
        async with database.system() as first, database.system() as second, database.system() as third:
            pids = [await one.value(pid, of=int) for one in (first, second, third)]
        assert len(set(pids)) == 3
        again = []
        for _ in range(5):
            async with database.system() as transaction:
                again.append(await transaction.value(pid, of=int))
        assert set(again) == {pids[0]}, "the first one was given back last"
    finally:
        await database.close()


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


async def test_a_savepoint_that_fails_takes_only_its_own_along(db: Database) -> None:
    kept, lost, after = slug(), slug(), slug()
    async with db.system() as transaction:
        await transaction.run(ADD, {"id": new_id(), "slug": kept})
        for unwaited in (True, False):
            with pytest.raises(Violation):
                async with transaction.savepoint():
                    await transaction.run(ADD, {"id": new_id(), "slug": lost})
                    if unwaited:
                        await transaction.run(ADD, {"id": new_id(), "slug": kept})
                    else:
                        await transaction.change(ADD, {"id": new_id(), "slug": kept})
        async with transaction.savepoint():
            await transaction.run(ADD, {"id": new_id(), "slug": after})
    assert [await count(db, name) for name in (kept, lost, after)] == [1, 0, 1]


async def test_how_many_rows_changed_is_told(db: Database) -> None:
    async with db.system() as transaction:
        assert await transaction.change(ADD, {"id": new_id(), "slug": (name := slug())}) == 1
        assert await transaction.change("UPDATE organizations SET name = 'y' WHERE slug = %(s)s", {"s": name}) == 1
        assert await transaction.change("DELETE FROM organizations WHERE slug = %(s)s", {"s": slug()}) == 0


async def test_values_may_be_missing_and_one_value_may_not(db: Database) -> None:
    async with db.system() as transaction:
        assert await transaction.value("SELECT 1 WHERE false", of=int) is None
        assert await transaction.value("SELECT NULL::integer", of=int) is None
        assert await transaction.values("SELECT generate_series(1, 3)", of=int) == [1, 2, 3]
        with pytest.raises(RuntimeError, match="always gives a value"):
            await transaction.one_value("SELECT NULL::integer", of=int)
        with pytest.raises(RuntimeError, match="always gives a row"):
            await transaction.one("SELECT 1 AS number WHERE false", row=Number)


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_streamed_rows_come_in_order_and_all_of_them(db: Database, at_once: int) -> None:
    statement = "SELECT generate_series(%(first)s::integer, 4) AS number"
    async with db.system() as transaction:
        rows = transaction.stream(statement, {"first": 1}, rows_of(Number), at_once=at_once)
        assert [row.number async for row in rows] == [1, 2, 3, 4]
        rows = transaction.stream(statement, {"first": 2}, rows_of(Number), at_once=at_once)
        assert await anext(rows) == Number(2)
        await rows.aclose()
        assert await transaction.one("SELECT 7 AS number", row=Number) == Number(7)


async def test_what_core_builds_is_run_with_its_values(db: Database) -> None:
    name = slug()
    async with db.system() as transaction:
        await transaction.run(insert(organizations).values(id=new_id(), slug=name, name="100 %"))
        for _ in range(8):  # prepared on the way
            statement = select(organizations.c.name).where(organizations.c.slug.in_([name, slug()]))
            assert await transaction.values(statement, of=str) == ["100 %"]


async def test_a_stream_without_values_reads_a_percent_sign_as_one(db: Database) -> None:
    statement = select((literal_column("7", Integer) % literal_column("4", Integer)).label("number"))
    async with db.system() as transaction:
        found = [row async for row in transaction.stream(statement, None, rows_of(Number), at_once=2)]
    assert found == [Number(3)]
