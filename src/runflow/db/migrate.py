"""Bring a database to the schema of this release.

A migration is a numbered SQL file in `migrations/`, and its number is the revision that it leads to. The revision of a
database stands in the table `alembic_version`, made as Alembic makes it: Alembic ran these scripts before this module
did, and a database that it migrated goes on where it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg
from sqlalchemy import URL

from runflow.db import roles
from runflow.master_key import MasterKey

# Only one process migrates at a time; the number means nothing but is ours.
MIGRATION_LOCK = 7_201_946_113

_HAS_REVISION = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"
_MAKE_TABLE = """
    CREATE TABLE IF NOT EXISTS alembic_version (
        version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )
"""
_FIRST_REVISION = "INSERT INTO alembic_version (version_num) VALUES (%s)"
_NEXT_REVISION = "UPDATE alembic_version SET version_num = %s"


class SchemaTooNew(Exception):
    """The database was migrated by a newer Runflow than this one. Install that release, or restore an older backup."""


class MigrationFailed(Exception):
    """A migration failed, and nothing of it stands; those before it do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered script, e.g. `0001_foundation.sql`."""

    file: Traversable

    @property
    def revision(self) -> str:
        """The number that the file's name begins with, e.g. `0001`."""
        return self.file.name.partition("_")[0]


def migrations() -> list[Migration]:
    """Return the packaged migrations in the order of their numbers."""
    folder = files("runflow.db") / "migrations"
    scripts = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return [Migration(file) for file in sorted(scripts, key=lambda file: file.name)]


async def migrate(owner_url: URL, key: MasterKey) -> None:
    """Create the roles and run every pending migration. Safe to call from several processes at once.

    Raises `SchemaTooNew` when the database is ahead of this release, `MigrationFailed`, and `OtherKeyInForce`
    (`roles.py`).
    """
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        await roles.provision(connection, key)
        await upgrade(connection, migrations())


async def upgrade(connection: "psycopg.AsyncConnection[Any]", known: Sequence[Migration]) -> None:
    """Run those of the known migrations that come after the database's revision, each in a transaction of its own.

    Raises `SchemaTooNew` when the revision is none of theirs, and `MigrationFailed`.
    """
    current = await _revision(connection)
    revisions = [migration.revision for migration in known]
    if current is not None and current not in revisions:
        raise SchemaTooNew
    done = 0 if current is None else revisions.index(current) + 1
    for migration in known[done:]:
        try:
            await _run(connection, migration, first=current is None)
        except psycopg.Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise MigrationFailed(
                f"The migration {migration.file.name} failed: {reason}. Nothing of it stands; those before it do. "
                "Remove the cause and start again."
            ) from error
        current = migration.revision


async def _revision(connection: "psycopg.AsyncConnection[Any]") -> str | None:
    """Return the revision of the database, None when nothing was migrated."""
    exists = await (await connection.execute(_HAS_REVISION)).fetchone()
    if exists is None or not exists[0]:
        return None
    row = await (await connection.execute(_REVISION)).fetchone()
    return None if row is None else str(row[0])


async def _run(connection: "psycopg.AsyncConnection[Any]", migration: Migration, *, first: bool) -> None:
    """Run one script and write its revision, both or neither."""
    async with connection.transaction():
        if first:
            await connection.execute(_MAKE_TABLE)
        # Without parameters the driver leaves each % alone and sends all statements at once.
        await connection.execute(migration.file.read_text(encoding="utf-8"))
        await connection.execute(_FIRST_REVISION if first else _NEXT_REVISION, [migration.revision])
