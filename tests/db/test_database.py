"""Roles and tenants: what the API role can see, and who may see everything."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from runflow.db.database import Database
from runflow.ids import new_id
from runflow.orgs import queries as orgs


@pytest.fixture
async def two_orgs(db: Database) -> tuple[UUID, UUID]:
    first, second = new_id(), new_id()
    async with db.system() as connection:
        for org in (first, second):
            await orgs.add(connection, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
    return first, second


async def test_a_tenant_sees_only_its_own_rows_even_by_raw_sql(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    mine, other = two_orgs
    async with db.tenant(mine) as connection:
        rows = (await connection.execute(text("SELECT id FROM organizations"))).scalars().all()
        named = (await connection.execute(text("SELECT id FROM organizations WHERE id = :id"), {"id": other})).all()
    assert rows == [mine] and named == []


async def test_a_tenant_cannot_write_rows_of_another(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    mine, other = two_orgs
    insert = text(
        "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, scopes) "
        "VALUES (:id, :org, 'x', :hash, 'x', '{}')"
    )
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with db.tenant(mine) as connection:
            await connection.execute(insert, {"id": new_id(), "org": other, "hash": new_id().bytes})


@pytest.mark.parametrize("escape", ["SET ROLE runflow_system", "SET ROLE runflow_owner", "RESET ROLE; SELECT 1/0"])
async def test_the_api_role_cannot_become_another(db: Database, escape: str) -> None:
    with pytest.raises(DBAPIError):
        async with db.tenant(new_id()) as connection:
            await connection.execute(text(escape))


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    org = new_id()
    with pytest.raises(RuntimeError):
        async with db.system() as connection:
            await orgs.add(connection, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
            raise RuntimeError
    async with db.tenant(org) as connection:
        assert (await connection.execute(text("SELECT id FROM organizations"))).all() == []
