"""Roles and tenants: what the API role can see, and who may see everything."""

import asyncio
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from runflow.accounts.organizations import queries as orgs
from runflow.db.database import Database
from runflow.ids import new_id
from runflow.web.exception_handlers import translate


@pytest.fixture
async def two_orgs(db: Database) -> tuple[UUID, UUID]:
    first, second = new_id(), new_id()
    async with db.system() as transaction:
        for org in (first, second):
            await orgs.add(transaction, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
    return first, second


async def test_a_tenant_sees_only_its_own_rows_even_by_raw_sql(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    mine, other = two_orgs
    async with db.tenant(mine) as transaction:
        rows = await transaction.values("SELECT id FROM organizations", of=UUID)
        named = await transaction.values("SELECT id FROM organizations WHERE id = %(id)s", {"id": other}, of=UUID)
    assert rows == [mine] and named == []


async def test_a_tenant_cannot_write_rows_of_another(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    mine, other = two_orgs
    insert = (
        "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, scopes) "
        "VALUES (%(id)s, %(org)s, 'x', %(hash)s, 'x', '{}')"
    )
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        async with db.tenant(mine) as transaction:
            await transaction.run(insert, {"id": new_id(), "org": other, "hash": new_id().bytes})


@pytest.mark.parametrize("escape", ["SET ROLE runflow_system", "SET ROLE runflow_owner", "RESET ROLE; SELECT 1/0"])
async def test_the_api_role_cannot_become_another(db: Database, escape: str) -> None:
    with pytest.raises(psycopg.Error):
        async with db.tenant(new_id()) as transaction:
            await transaction.run(escape)


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    org = new_id()
    with pytest.raises(RuntimeError):
        async with db.system() as transaction:
            await orgs.add(transaction, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
            raise RuntimeError
    async with db.tenant(org) as transaction:
        assert await transaction.values("SELECT id FROM organizations", of=UUID) == []


async def test_no_filter_keeps_a_connection_for_long(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    async with db.tenant(two_orgs[0]) as transaction:
        assert await transaction.value("SHOW statement_timeout", of=str) == "30s"
    async with db.unit_of_work(two_orgs[0]), db.tenant(two_orgs[0]) as transaction:
        assert await transaction.value("SHOW statement_timeout", of=str) == "30s"
    with pytest.raises(psycopg.Error) as caught:
        async with db.tenant(two_orgs[0]) as transaction:
            await transaction.run("SET LOCAL statement_timeout = 20")
            await transaction.run("SELECT pg_sleep(10)")
    problem = translate(caught.value)
    assert problem.status == 503 and "narrower filter" in problem.message


async def test_what_callers_sent_is_in_no_error(db: Database) -> None:
    with pytest.raises(psycopg.Error) as caught:
        async with db.tenant(new_id()) as transaction:
            await transaction.run("SELECT CAST(%(value)s AS text), 1/0", {"value": "a planted secret"})
    assert "a planted secret" not in str(caught.value)


async def test_lists_use_up_no_connection_that_a_dispatch_needs(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    """A caller decides how long a list takes, by its filter."""
    org, held, rest = two_orgs[0], asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> None:
        async with db.listing(org):
            held.release()
            await rest.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(slow())
        await held.acquire()
        async with asyncio.timeout(60):
            async with db.tenant(org) as transaction:
                assert await transaction.values("SELECT id FROM organizations", of=UUID) == [org]
            async with db.unit_of_work(org), db.tenant(org):
                pass
        rest.set()
