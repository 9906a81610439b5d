"""How the sweeps find what is old, in a database of their own: a plan depends on what the tables hold."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import URL

from runflow.db.database import Database
from runflow.db.migrate import migrate
from runflow.ids import smallest_id
from runflow.master_key import MasterKey
from runflow.retention import queries
from tests.support.application import fresh_database

_FILL = """
    DO $$ DECLARE one record; BEGIN
        FOR one IN SELECT conrelid::regclass AS name, conname FROM pg_constraint WHERE contype = 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.name, one.conname);
        END LOOP;
    END $$;
    INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, status_code, input, lane_id,
                      gpu_class, timeout_seconds, created_at, started_at, completed_at)
    SELECT uuidv7(at - now()), nobody, nobody, nobody, '1', 'succeeded', '{}', nobody, 'CPU', 60, at, at, at
    FROM generate_series(1, 20000) AS n, LATERAL (SELECT now() - make_interval(mins => 20000 - n) AS at) AS moment,
         (SELECT uuidv7() AS nobody) AS someone;
    INSERT INTO run_events (org_id, run_id, sequence, type_code, data, created_at)
    SELECT org_id, id, 1, 'status', '{}', created_at FROM runs ORDER BY created_at;
"""
"""A run and an event a minute. What runs belong to is left out, and with it the constraints that want it."""


@pytest.fixture(scope="module")
async def filled(owner_url: URL, master_key: MasterKey) -> AsyncIterator[Database]:
    url = fresh_database(owner_url, "retention-plans")
    await migrate(url, master_key)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(_FILL)
        await connection.execute("VACUUM ANALYZE")
    database = Database(url, master_key, pool=1)
    yield database
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [queries._EXPIRE_OUTPUTS, queries._OLD_RUNS, queries._FORGET_EVENTS],
    ids=["outputs", "runs", "events"],
)
async def test_what_is_old_is_found_by_an_index(filled: Database, statement: str) -> None:
    """A table of a million runs is not read from end to end every five minutes."""
    before = datetime.now(UTC) - timedelta(minutes=19900)
    parameters = {"before": before, "limit": 1000, "first_id": smallest_id(before), "aside": []}
    async with filled.system() as transaction:
        # Tables as small as a test's are quickly read whole: the question is what is done with large ones.
        await transaction.run("SET LOCAL enable_seqscan = off")
        plan = "\n".join(await transaction.values(f"EXPLAIN {statement}", parameters, of=str))
    assert "Index Cond" in plan and "Seq Scan on run" not in plan, plan
