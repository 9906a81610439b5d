"""Bring a database to the schema of this release."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine

from runflow.db import roles
from runflow.master_key import MasterKey

# Only one process migrates at a time; the number means nothing but is ours.
MIGRATION_LOCK = 7_201_946_113


class SchemaTooNew(Exception):
    """The database was migrated by a newer Runflow than this one. Install that release, or restore an older backup."""


def alembic_config() -> Config:
    """Return the Alembic configuration of the packaged migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


async def migrate(owner_url: URL, key: MasterKey) -> None:
    """Create the roles and run every pending migration. Safe to call from several processes at once.

    Raises `SchemaTooNew` when the database is ahead of this release, and `OtherKeyInForce` (`roles.py`).
    """
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        await roles.provision(connection, key)
        _upgrade(owner_url)


def _upgrade(owner_url: URL) -> None:
    config = alembic_config()
    engine = create_engine(owner_url)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            script = ScriptDirectory.from_config(config)
            known = {revision.revision for revision in script.walk_revisions()}
            if current is not None and current not in known:
                raise SchemaTooNew
            connection.rollback()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()
