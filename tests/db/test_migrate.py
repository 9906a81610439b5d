"""The migrations and the table definitions describe the same database, and every database reaches it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, create_engine

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.db import roles
from runflow.db.migrate import MIGRATION_LOCK, Migration, MigrationFailed, SchemaTooNew, migrate, migrations, upgrade
from runflow.db.tables import metadata
from runflow.ids import new_id, new_token
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


async def test_keys_of_other_organizations_lose_the_scope_that_is_the_operator_s(
    owner_url: URL, master_key: MasterKey
) -> None:
    url = fresh_database(owner_url, "with_old_keys")
    await run(url, master_key, migrations()[:16])
    mine, other = new_id(), new_id()
    with psycopg.connect(dsn(url)) as connection:
        for org, slug in ((mine, "first"), (other, "other")):
            connection.execute(
                "INSERT INTO organizations (id, slug, name, created_at) VALUES (%s, %s, '', clock_timestamp())",
                [org, slug],
            )
            connection.execute(
                "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, scopes) VALUES (%s, %s, '', %s, '', %s)",
                [new_id(), org, slug.encode(), ["runs:read", "organizations:create"]],
            )
    await migrate(url, master_key)
    with psycopg.connect(dsn(url)) as connection:
        found = connection.execute("SELECT org_id, scopes FROM api_keys").fetchall()
        forced = connection.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'api_keys'").fetchone()
    assert dict(found) == {mine: ["runs:read", "organizations:create"], other: ["runs:read"]}
    assert forced == (True,)


async def test_an_installation_from_before_sources_has_its_versions_read_and_its_operator_able_to_approve(
    owner_url: URL, master_key: MasterKey
) -> None:
    url = fresh_database(owner_url, "before_sources")
    await run(url, master_key, [one for one in migrations() if one.file.name < "0039"])
    before = [scope for scope in ALL_SCOPES if not scope.startswith("sources:")]
    held = {"all": before, "few": ["runs:read", "workers:edit"], "other": before}
    versions = [new_id() for _ in range(2)]
    with psycopg.connect(dsn(url)) as connection:
        for slug, names in (("first", ("all", "few")), ("second", ("other",))):
            org, workflow = new_id(), new_id()
            connection.execute(
                "INSERT INTO organizations (id, slug, name, created_at) VALUES (%s, %s, '', clock_timestamp())",
                [org, slug],
            )
            for name in names:
                connection.execute(
                    "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, scopes) "
                    "VALUES (%s, %s, %s, %s, '', %s)",
                    [new_id(), org, name, name.encode(), held[name]],
                )
            if slug == "second":
                connection.execute(
                    "INSERT INTO workflows (id, org_id, slug, name, version_id, version) "
                    "VALUES (%s, %s, 'w', 'w', %s, '2')",
                    [workflow, org, versions[1]],
                )
                for number, version in enumerate(versions, 1):
                    connection.execute(
                        "INSERT INTO workflow_versions (id, org_id, workflow_id, number, workflow_json, custom_nodes, "
                        "interface, fingerprint) VALUES (%s, %s, %s, %s, '{}', %s, '{}', '')",
                        [version, org, workflow, number, None if number == 1 else "{}"],
                    )
    await migrate(url, master_key)
    with psycopg.connect(dsn(url)) as connection:
        found: dict[str, Any] = dict(connection.execute("SELECT name, scopes FROM api_keys").fetchall())
        unread = connection.execute("SELECT version_id, org_id FROM unread_versions").fetchall()
        forced = connection.execute(
            "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname = ANY(%s)",
            [["api_keys", "workflow_versions", "version_sources"]],
        ).fetchone()
    assert found == held | {"all": [*before, "sources:read", "sources:approve"]}
    assert unread == [(versions[1], org)]
    assert forced == (True,)


async def test_keys_leave_the_stored_versions(owner_url: URL, master_key: MasterKey) -> None:
    url = fresh_database(owner_url, "with_keys_in_graphs")
    await run(url, master_key, migrations()[:17])
    key, like = new_token("rf_live_"), "rf_test_short"
    org, workflow, version = new_id(), new_id(), new_id()
    graphs = [
        {"nodes": [{"type": "RunflowDeploy", "widgets_values": ["rf_detr_name", "", like]}], "a": "b\0"},
        {"nodes": [{"type": "RunflowDeploy", "widgets_values": ["rf_detr_name", "", like]}], "a": like},
        {"nodes": [{"type": "Sub", "widgets_values": [key]}], "definitions": {"subgraphs": [{"a": f"Bearer {key}"}]}},
        {
            "definitions": {
                "subgraphs": [{"nodes": [{"type": "RunflowDeploy", "widgets_values_named": {"api_key": like}}]}]
            }
        },
        None,
    ]
    prompt = {"1": {"class_type": "RunflowDeploy", "inputs": {"api_key": like}}, "2": {"class_type": "A", "inputs": {}}}
    answer = json.dumps({"graph": graphs[2]}).encode()
    with psycopg.connect(dsn(url)) as connection:
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        connection.execute("INSERT INTO organizations (id, slug, name) VALUES (%s, 'a', '')", [org])
        connection.execute(
            "INSERT INTO workflows (id, org_id, slug, name, version_id, version) VALUES (%s, %s, 'a', '', %s, '1')",
            [workflow, org, version],
        )
        for number, graph in enumerate(graphs):
            connection.execute(
                "INSERT INTO workflow_versions (id, org_id, workflow_id, number, workflow_json, graph, interface, "
                "fingerprint) VALUES (%s, %s, %s, %s, %s, %s, '{}', '')",
                [
                    new_id() if number else version,
                    org,
                    workflow,
                    number,
                    json.dumps(prompt),
                    graph and json.dumps(graph),
                ],
            )
        for name, body in (("mine", answer), ("other", b"{}")):
            connection.execute(
                "INSERT INTO idempotency_keys (org_id, route, key, request_hash, status_code, body) "
                "VALUES (%s, '/v1/comfyui-workflows', %s, '', 201, %s)",
                [org, name, body],
            )
    await migrate(url, master_key)
    with psycopg.connect(dsn(url)) as connection:
        versions = connection.execute("SELECT graph, workflow_json FROM workflow_versions ORDER BY number").fetchall()
        kept = connection.execute("SELECT key FROM idempotency_keys").fetchall()
    assert key not in repr(versions) and kept == [("other",)]
    assert [like in repr(version) for version in versions] == [True, False, False, False, False]
    assert "rf_detr_name" in repr(versions[1])
    assert versions[4][0] is None


async def test_titles_leave_the_runs_of_other_organizations(owner_url: URL, master_key: MasterKey) -> None:
    url = fresh_database(owner_url, "with_titles")
    await run(url, master_key, migrations()[:17])
    mine, other, workflow, version, lane = (new_id() for _ in range(5))
    runs = {mine: new_id(), other: new_id()}
    with psycopg.connect(dsn(url)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO workflows (id, org_id, slug, name, version_id, version) VALUES (%s, %s, 'a', '', %s, '1')",
            [workflow, mine, version],
        )
        for org, one in runs.items():
            connection.execute(
                "INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, input, lane_id, "
                "gpu_class, timeout_seconds) VALUES (%s, %s, %s, %s, '1', '{}', %s, 'auto', 1)",
                [one, org, workflow, version, lane],
            )
            connection.execute(
                "INSERT INTO run_node_runs (id, org_id, run_id, attempt_id, node_id, node_type, title, state_code) "
                "VALUES (%s, %s, %s, %s, '1', 'A', 'secret', 'succeeded')",
                [new_id(), org, one, new_id()],
            )
            for number, data in enumerate(({"title": "secret", "node_id": "1"}, {"node_id": "1"})):
                connection.execute(
                    "INSERT INTO run_events (org_id, run_id, sequence, type_code, data, created_at) "
                    "VALUES (%s, %s, %s, 'node', %s, now())",
                    [org, one, number, json.dumps(data)],
                )
    await migrate(url, master_key)
    with psycopg.connect(dsn(url)) as connection:
        titles: dict[UUID, str | None] = dict(connection.execute("SELECT org_id, title FROM run_node_runs").fetchall())
        events = connection.execute("SELECT org_id, data FROM run_events ORDER BY org_id = %s, sequence", [other])
        told = [(org == mine, data) for org, data in events]
    assert titles == {mine: "secret", other: None}
    assert told[0] == (True, {"title": "secret", "node_id": "1"})
    assert told[2:] == [(False, {"title": None, "node_id": "1"}), (False, {"node_id": "1"})]


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
