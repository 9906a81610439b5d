"""What database and storage hold at the end, read past the server."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import class_row

from runflow.embedded_postgres import EmbeddedPostgres
from runflow.storage.disk import ABANDONED_SECONDS, INCOMING

CONNECT_SECONDS = 5
"""Longer waits for a place are given up: whoever has them all may be a fault that is under way."""

_RUNS = """
    SELECT r.id::text, coalesce(r.client_ref, '') AS ref, r.status_code AS status,
        (SELECT count(*) FROM run_attempts a WHERE a.run_id = r.id AND a.number IS NOT NULL) AS attempts,
        (SELECT count(*) FROM run_attempts a
            WHERE a.run_id = r.id AND a.status_code IN ('offered', 'live')) AS held,
        (SELECT count(*) FROM run_attempts a WHERE a.run_id = r.id AND a.status_code = 'succeeded') AS successes,
        (SELECT count(*) FROM usage_records u WHERE u.run_id = r.id AND u.is_billable) AS bills,
        (SELECT count(*) FROM deliveries d WHERE d.run_id = r.id AND d.status_code = 'pending') AS pending,
        ARRAY(SELECT o.object_key FROM run_outputs o WHERE o.run_id = r.id) AS keys
    FROM runs r ORDER BY r.id
"""
_LANES = "SELECT coalesce(sum(depth), 0), coalesce(sum(running), 0) FROM lanes"
_AGE = (
    "UPDATE run_attempts SET completed_at = completed_at - interval '2 hours'",
    "UPDATE runs SET completed_at = completed_at - interval '2 hours'",
)
_UNSWEPT = """
    SELECT (SELECT count(*) FROM run_attempts
            WHERE status_code IN ('failed', 'cancelled', 'lost') AND NOT objects_swept)
         + (SELECT count(*) FROM runs WHERE has_leftovers)
"""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the database has it, with what belongs to it."""

    id: str
    ref: str
    status: str
    attempts: int
    held: int
    successes: int
    bills: int
    pending: int
    keys: list[str]


@dataclass(frozen=True, slots=True)
class Records:
    """All runs, what the lanes count as waiting and as running, and the keys of all stored objects."""

    runs: list[RunRecord]
    waiting: int
    running: int
    objects: list[str]


def pending_deliveries(url: str) -> int:
    """Return how many messages have not come to an end. Raises psycopg.OperationalError."""
    return _number(url, "SELECT count(*) FROM deliveries WHERE status_code = 'pending'")


def executing(url: str) -> int:
    """Return how many runs engines are at work on. Raises psycopg.OperationalError."""
    return _number(url, "SELECT count(*) FROM runs WHERE status_code = 'running'")


def unswept(url: str) -> int:
    """Return how many attempts and runs retention has still to look at. Raises psycopg.OperationalError."""
    return _number(url, _UNSWEPT)


def read(url: str, storage: Path) -> Records:
    """Read all of it from a running database. Raises psycopg.OperationalError."""
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        runs = connection.cursor(row_factory=class_row(RunRecord)).execute(_RUNS).fetchall()
        lanes = connection.execute(_LANES).fetchone()
    assert lanes is not None
    objects = [str(path.relative_to(storage)) for path in storage.rglob("*") if path.is_file()]
    return Records(runs, int(lanes[0]), int(lanes[1]), sorted(objects))


def age(home: Path) -> None:
    """Let hours pass for a stopped installation: what waits for retention is due at the next start."""
    postgres = EmbeddedPostgres(home)
    with psycopg.connect(postgres.start().url("postgresql")) as connection:
        for statement in _AGE:
            connection.execute(statement)
    postgres.stop()
    then = time.time() - 2 * ABANDONED_SECONDS
    for path in (home / "storage" / INCOMING).iterdir():
        os.utime(path, (then, then))


def _number(url: str, statement: str) -> int:
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
