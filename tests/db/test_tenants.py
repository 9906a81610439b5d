"""Every table of the database keeps tenants apart, read from the catalogue: a new table is covered the day it is made.

A row is put into each table with an organization, for two organizations; then the role of the API tries everything on
the other one's row by raw SQL. Nothing of it is committed.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors, sql
from psycopg.rows import dict_row
from sqlalchemy import URL

from runflow.db import roles
from runflow.db.migrate import migrate
from runflow.ids import new_id
from runflow.master_key import MasterKey
from tests.support.application import fresh_database

FOR_EVERYBODY = {"gpus": "the catalogue of GPUs, the same for all"}
"""Tables that every organization may read, each with why."""

NOT_FOR_THE_API = {"alembic_version", "fair_shares", "lanes", "sources", "worker_tokens"}
"""Tables that the API's role cannot read at all. One that leaves this set must be guarded or belong to everybody."""

_TABLES = """
    SELECT c.relname AS name, c.relrowsecurity AS guarded, c.relforcerowsecurity AS forced,
           bool_or(a.attname = 'org_id') AS of_org,
           bool_or(has_column_privilege(%(role)s, c.oid, a.attnum, 'SELECT')) AS readable,
           bool_or(has_column_privilege(%(role)s, c.oid, a.attnum, 'INSERT')) AS insertable
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND c.relnamespace = 'public'::regnamespace
    GROUP BY c.oid ORDER BY c.relname
"""
_COLUMNS = """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = %(table)s::regclass AND attnum > 0 AND attnotnull AND NOT atthasdef AND NOT attisdropped
"""
_CHECKS = """
    SELECT conrelid::regclass::text AS of, conname AS name FROM pg_constraint
    WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""


@pytest.fixture(scope="module")
async def apart(owner_url: URL, master_key: MasterKey) -> str:
    """A database of its own, for tests that lock every table; without checks, since its rows mean nothing."""
    url = fresh_database(owner_url, "tenants")
    await migrate(url, master_key)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        for check in connection.execute(_CHECKS).fetchall():
            names = sql.Identifier(check["of"]), sql.Identifier(check["name"])
            connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(*names))
    return dsn


@pytest.fixture
def owner(apart: str) -> Iterator[Connection[dict[str, Any]]]:
    """A transaction of the schema's owner, which may become any role and ends in a rollback."""
    with psycopg.connect(apart, row_factory=dict_row) as connection:
        yield connection
        connection.rollback()


def tables(owner: Connection[dict[str, Any]]) -> list[dict[str, Any]]:
    return owner.execute(_TABLES, {"role": roles.API}).fetchall()


def sample(kind: str) -> Any:
    """Return a value of a type."""
    samples = {
        "uuid": new_id(),
        "text": new_id().hex,
        "integer": 1,
        "bigint": 1,
        "smallint": 1,
        "numeric": 1,
        "double precision": 1.0,
        "boolean": False,
        "json": "{}",
        "jsonb": "{}",
        "bytea": new_id().bytes,
        "text[]": [],
        "timestamp with time zone": "2026-01-01T00:00:00+00:00",
        "date": "2026-01-01",
    }
    return samples[kind.split("(")[0]]


def put(owner: Connection[dict[str, Any]], table: str, org: UUID) -> dict[str, Any]:
    """Insert a row of an organization, whatever it refers to, and return what was given."""
    columns = owner.execute(_COLUMNS, {"table": table}).fetchall()
    values = {column["name"]: sample(column["type"]) for column in columns} | {"org_id": org}
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    owner.execute(statement, values)
    return values


def become(owner: Connection[dict[str, Any]], org: UUID | None) -> None:
    owner.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(roles.API)))
    owner.execute("SELECT set_config('runflow.org', %s, true)", [str(org) if org else ""])


def affected(owner: Connection[dict[str, Any]], statement: str, table: str, values: dict[str, Any]) -> int | None:
    """Return how many rows a statement saw or changed; None where the role may not do it at all."""
    try:
        with owner.transaction():
            return owner.execute(sql.SQL(statement).format(sql.Identifier(table)), values).rowcount
    except errors.InsufficientPrivilege:
        return None


def test_every_table_is_guarded_or_on_a_short_list(owner: Connection[dict[str, Any]]) -> None:
    found = tables(owner)
    readable = {table["name"] for table in found if table["readable"]}
    unguarded = {table["name"] for table in found if table["readable"] and not table["guarded"]}
    assert unguarded == set(FOR_EVERYBODY), "guard the table with tenant_table(), or say here why all may read it"
    hidden = {table["name"] for table in found} - readable
    assert hidden >= NOT_FOR_THE_API
    unforced = {table["name"] for table in found if table["of_org"] and table["readable"] and not table["forced"]}
    assert unforced == set(), "tables with org_id whose row security is not forced"


def test_the_api_cannot_reach_another_tenant_s_row_in_any_table(owner: Connection[dict[str, Any]]) -> None:
    mine, other = new_id(), new_id()
    guarded = [table for table in tables(owner) if table["of_org"] and table["readable"]]
    assert {"runs", "api_keys", "deliveries", "audit_events", "idempotency_keys"} <= {one["name"] for one in guarded}
    # Foreign keys and triggers are not what this is about: each table is tried on its own.
    owner.execute("SET LOCAL session_replication_role = replica")
    rows = {table["name"]: [put(owner, table["name"], org) for org in (mine, other)] for table in guarded}
    become(owner, mine)
    faults = []
    for name in rows:
        key = {"org": other}
        own = affected(owner, "SELECT FROM {} WHERE org_id <> %(org)s", name, key)
        tried = {
            "read": affected(owner, "SELECT FROM {} WHERE org_id = %(org)s", name, key),
            "locked": affected(owner, "SELECT FROM {} WHERE org_id = %(org)s FOR UPDATE", name, key),
            "changed": affected(owner, "UPDATE {} SET org_id = org_id WHERE org_id = %(org)s", name, key),
            "deleted": affected(owner, "DELETE FROM {} WHERE org_id = %(org)s", name, key),
            "gave away": affected(owner, "UPDATE {} SET org_id = %(org)s", name, key),
        }
        faults += [f"{name}: {what} {count}" for what, count in tried.items() if count]
        if own != 1:
            faults.append(f"{name}: its own row is not to be seen, so this test shows nothing")
    assert faults == []


def test_the_api_cannot_write_a_row_for_another_tenant(owner: Connection[dict[str, Any]]) -> None:
    mine, other = new_id(), new_id()
    owner.execute("SET LOCAL session_replication_role = replica")
    writable = [table["name"] for table in tables(owner) if table["of_org"] and table["insertable"]]
    assert "runs" in writable
    become(owner, mine)
    for name in writable:
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"), owner.transaction():
            put(owner, name, other)


def test_without_a_tenant_there_are_no_rows(owner: Connection[dict[str, Any]]) -> None:
    guarded = [table["name"] for table in tables(owner) if table["readable"] and table["guarded"]]
    owner.execute("SET LOCAL session_replication_role = replica")
    for name in guarded:
        if name not in ("organizations", "users"):
            put(owner, name, new_id())
    become(owner, None)
    assert {name: affected(owner, "SELECT FROM {}", name, {}) for name in guarded} == dict.fromkeys(guarded, 0)


@pytest.mark.parametrize("table", sorted(NOT_FOR_THE_API))
def test_the_api_cannot_read_what_is_not_for_it(owner: Connection[dict[str, Any]], table: str) -> None:
    become(owner, new_id())
    assert affected(owner, "SELECT FROM {}", table, {}) is None


def test_the_functions_that_act_as_the_owner_are_known(owner: Connection[dict[str, Any]]) -> None:
    """A function with its owner's rights passes row security: each one here was read with that in mind."""
    found = owner.execute(
        "SELECT proname AS name FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace "
        "AND has_function_privilege(%s, oid, 'EXECUTE')",
        [roles.API],
    ).fetchall()
    assert {row["name"] for row in found} <= {
        *("count_organizations", "enter_lane", "is_operator", "make_organization", "user_of", "workflow_path"),
        *("name_sources", "approve_sources"),
    }


def test_no_temporary_table_stands_in_for_ours_in_them(owner: Connection[dict[str, Any]]) -> None:
    """A schema search that does not name pg_temp begins there."""
    found = owner.execute(
        "SELECT proname AS name, proconfig AS settings FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    ).fetchall()
    assert found
    assert [
        row["name"] for row in found if "search_path=pg_catalog, public, pg_temp" not in (row["settings"] or [])
    ] == []
