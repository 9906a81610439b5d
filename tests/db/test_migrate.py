"""The migrations and the table definitions describe the same database."""

import asyncio
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, create_engine, text

from runflow.db.migrate import SchemaTooNew, migrate
from runflow.db.tables import metadata
from runflow.master_key import MasterKey
from runflow.server import create_app  # noqa: F401 - imports every noun, and so every table

MEANT = {"add_table", "add_column", "remove_column", "modify_type", "modify_nullable"}


def flat(differences: list[Any]) -> list[Any]:
    return [one for item in differences for one in (item if isinstance(item, list) else [item])]


async def test_tables_are_as_the_migrations_make_them(db_url: URL) -> None:
    engine = create_engine(db_url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [one for one in flat(found) if one[0] in MEANT] == []


async def test_migrating_again_and_from_two_processes_at_once_is_safe(db_url: URL, master_key: MasterKey) -> None:
    await asyncio.gather(migrate(db_url, master_key), migrate(db_url, master_key))


async def test_a_database_of_a_newer_release_is_refused(db_url: URL, master_key: MasterKey) -> None:
    engine = create_engine(db_url)
    with engine.begin() as connection:
        newest = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(SchemaTooNew):
            await migrate(db_url, master_key)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :newest"), {"newest": newest})
        engine.dispose()


async def test_no_password_ends_in_the_database_s_own_catalogue_in_clear(db_url: URL) -> None:
    dsn = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'runflow_%'").fetchall()
    assert rows and all(password.startswith("SCRAM-SHA-256$") for (password,) in rows)
