"""Roles and tenants: what the API role can see, and who may see everything."""

import re
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from runflow.db.database import Database
from runflow.ids import new_id
from runflow.orgs import queries as orgs

TENANT_TABLES = (
    *("organizations", "api_keys", "workflows", "workflow_versions", "workflow_inputs", "workflow_outputs", "assets"),
    *("asset_uploads", "runs", "run_attempts", "run_outputs", "run_node_runs", "run_events", "usage_records"),
    *("deliveries", "delivery_attempts"),
)
SYSTEM_TABLES = ("lanes", "fair_shares", "workers", "worker_tokens")

SYSTEM_FILES = {
    "assets/sweep.py",
    "cli/keys.py",
    "deliveries/sender.py",
    "installation.py",
    "keys/authenticator.py",
    "runs/queue/completion.py",
    "runs/queue/leases.py",
    "runs/queue/sweeper.py",
    "runs/service.py",
    "web/system.py",
    "workers/outlook.py",
    "workers/service.py",
}
"""Every file that may open a transaction over all tenants."""


@pytest.fixture
async def two_orgs(db: Database) -> tuple[UUID, UUID]:
    first, second = new_id(), new_id()
    async with db.system() as connection:
        for org in (first, second):
            await orgs.add(connection, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
    return first, second


def test_only_the_listed_files_open_system_transactions() -> None:
    source = Path(__file__).parents[2] / "src" / "runflow"
    found = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"\bdb\.system(_pipeline)?\(", path.read_text()) and "graph" not in path.parts
    }
    assert found - SYSTEM_FILES == set()


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


async def test_without_a_tenant_there_are_no_rows(db: Database, two_orgs: tuple[UUID, UUID]) -> None:
    async with db.tenant(two_orgs[0]) as connection:
        await connection.execute(text("SELECT set_config('runflow.org', '', true)"))
        for table in TENANT_TABLES:
            count = (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
            assert count == 0, table


@pytest.mark.parametrize("table", SYSTEM_TABLES)
async def test_the_api_role_cannot_read_the_queue_or_the_workers(db: Database, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with db.tenant(new_id()) as connection:
            await connection.execute(text(f"SELECT * FROM {table}"))


@pytest.mark.parametrize("escape", ["SET ROLE runflow_system", "SET ROLE runflow_owner", "RESET ROLE; SELECT 1/0"])
async def test_the_api_role_cannot_become_another(db: Database, escape: str) -> None:
    with pytest.raises(DBAPIError):
        async with db.tenant(new_id()) as connection:
            await connection.execute(text(escape))


async def test_every_table_with_rows_of_tenants_forces_row_security(db: Database) -> None:
    statement = text(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' "
        "WHERE c.relkind = 'r' AND NOT c.relforcerowsecurity"
    )
    async with db.system() as connection:
        unforced = set((await connection.execute(statement)).scalars())
    assert unforced == {"lanes", "fair_shares"}, "tables with org_id but without forced row security"


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    org = new_id()
    with pytest.raises(RuntimeError):
        async with db.system() as connection:
            await orgs.add(connection, org_id=org, slug=f"org-{org.hex[-12:]}", name="x")
            raise RuntimeError
    async with db.tenant(org) as connection:
        assert (await connection.execute(text("SELECT id FROM organizations"))).all() == []
