"""The migrations and the table definitions describe the same database, and every database reaches it."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, create_engine

from runflow.db import roles
from runflow.db.migrate import MIGRATION_LOCK, Migration, MigrationFailed, SchemaTooNew, migrate, migrations, upgrade
from runflow.db.tables import metadata
from runflow.master_key import MasterKey
from runflow.server import create_app  # noqa: F401 - imports every noun, and so every table
from tests.support.application import fresh_database

MEANT = {"add_table", "add_column", "remove_column", "modify_type", "modify_nullable"}
NEWEST = migrations()[-1].revision
BY_ALEMBIC = """
    CREATE TABLE alembic_version (
        version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )
"""
"""What Alembic 1.20 sent, which ran the migrations up to 0016."""


def dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def flat(differences: list[Any]) -> list[Any]:
    return [one for item in differences for one in (item if isinstance(item, list) else [item])]


def differences(url: URL) -> list[Any]:
    """Return what the tables' definitions have otherwise than the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    return [one for one in flat(found) if one[0] in MEANT]


def revisions(url: URL) -> list[str]:
    with psycopg.connect(dsn(url)) as connection:
        return [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]


def exists(url: URL, table: str) -> bool:
    with psycopg.connect(dsn(url)) as connection:
        row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    return row is not None and bool(row[0])


async def run(url: URL, key: MasterKey, scripts: list[Migration]) -> None:
    """Bring a database to the last of these scripts."""
    async with await psycopg.AsyncConnection.connect(dsn(url), autocommit=True) as connection:
        await roles.provision(connection, key)
        await upgrade(connection, scripts)


def written(folder: Path, name: str, script: str) -> Migration:
    path = folder / name
    path.write_text(script)
    return Migration(path)


def test_migrations_run_in_the_order_of_their_numbers_and_no_number_is_given_twice() -> None:
    numbers = [migration.revision for migration in migrations()]
    assert numbers == sorted(set(numbers)) and all(len(number) == 4 for number in numbers), numbers


async def test_no_migration_ends_the_transaction_that_it_runs_in(owner_url: URL, master_key: MasterKey) -> None:
    url = fresh_database(owner_url, "migrated_in_vain")
    await run(url, master_key, [])
    connection = await psycopg.AsyncConnection.connect(dsn(url), autocommit=True)
    async with connection, connection.transaction(force_rollback=True):
        await upgrade(connection, migrations())
    assert not exists(url, "organizations") and not exists(url, "alembic_version")


async def test_tables_are_as_the_migrations_make_them(db_url: URL) -> None:
    assert differences(db_url) == []
    assert revisions(db_url) == [NEWEST]


async def test_migrating_again_and_from_two_tasks_at_once_is_safe(db_url: URL, master_key: MasterKey) -> None:
    await asyncio.gather(migrate(db_url, master_key), migrate(db_url, master_key))
    assert revisions(db_url) == [NEWEST]


async def test_two_processes_migrate_an_empty_database_one_after_the_other(owner_url: URL) -> None:
    url = fresh_database(owner_url, "migrated_by_two")
    code = (
        "import asyncio, sys\n"
        "from sqlalchemy import make_url\n"
        "from runflow.db.migrate import migrate\n"
        "from runflow.master_key import MasterKey\n"
        f"asyncio.run(migrate(make_url(sys.argv[1]), MasterKey({'0123456789abcdef' * 4!r})))\n"
    )
    command = [sys.executable, "-P", "-c", code, url.render_as_string(hide_password=False)]
    waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = %s AND NOT granted"
    async with await psycopg.AsyncConnection.connect(dsn(url), autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        processes = [await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE) for _ in range(2)]
        async with asyncio.timeout(60):
            while await (await connection.execute(waiting, [url.database])).fetchone() != (2,):
                assert [process.returncode for process in processes] == [None, None]
                await asyncio.sleep(0.02)
        assert not exists(url, "runs")
    said = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert revisions(url) == [NEWEST]


async def test_a_database_that_alembic_left_at_an_older_revision_goes_on_from_there(
    owner_url: URL, master_key: MasterKey
) -> None:
    url = fresh_database(owner_url, "migrated_by_alembic")
    await run(url, master_key, [])
    with psycopg.connect(dsn(url)) as connection:
        connection.execute(BY_ALEMBIC)
        for migration in migrations()[:15]:
            connection.execute(migration.file.read_text())
        connection.execute("INSERT INTO alembic_version (version_num) VALUES ('0015')")
    await migrate(url, master_key)
    assert revisions(url) == [NEWEST]
    assert differences(url) == []
    assert exists(url, "runs_by_cost")


async def test_our_table_of_the_revision_is_alembic_s(db_url: URL) -> None:
    engine = create_engine(db_url)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == NEWEST
    engine.dispose()


async def test_a_migration_that_fails_leaves_the_revision_before_it_and_is_named(
    owner_url: URL, master_key: MasterKey, tmp_path: Path
) -> None:
    url = fresh_database(owner_url, "migration_failed")
    first = written(tmp_path, "0001_apples.sql", "CREATE TABLE apples (); SELECT '100 %s %';")
    second = written(tmp_path, "0002_pears.sql", "CREATE TABLE pears (); SELECT 1 / 0;")
    with pytest.raises(MigrationFailed, match=r"0002_pears\.sql failed: division by zero"):
        await run(url, master_key, [first, second])
    assert revisions(url) == ["0001"]
    assert exists(url, "apples") and not exists(url, "pears")

    second = written(tmp_path, "0002_pears.sql", "CREATE TABLE pears ();")
    await run(url, master_key, [first, second])
    assert revisions(url) == ["0002"]
    assert exists(url, "pears")


async def test_a_first_migration_that_fails_leaves_nothing(
    owner_url: URL, master_key: MasterKey, tmp_path: Path
) -> None:
    url = fresh_database(owner_url, "first_migration_failed")
    with pytest.raises(MigrationFailed, match=r"0001_apples\.sql"):
        await run(url, master_key, [written(tmp_path, "0001_apples.sql", "CREATE TABLE apples (); SELECT 1 / 0;")])
    assert not exists(url, "alembic_version") and not exists(url, "apples")


async def test_a_database_of_a_newer_release_is_refused(db_url: URL, master_key: MasterKey) -> None:
    with psycopg.connect(dsn(db_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(SchemaTooNew):
            await migrate(db_url, master_key)
        assert revisions(db_url) == ["9999"]
    finally:
        with psycopg.connect(dsn(db_url)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [NEWEST])


async def test_no_password_ends_in_the_database_s_own_catalogue_in_clear(db_url: URL) -> None:
    with psycopg.connect(dsn(db_url)) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'runflow_%'").fetchall()
    assert rows and all(password.startswith("SCRAM-SHA-256$") for (password,) in rows)
