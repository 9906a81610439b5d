"""SQL of workers, and what their list can be filtered and sorted by."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Row, Select, func, select, text, update

from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.schemas import Worker
from runflow.workers.tables import workers

_REGISTER = text("""
    INSERT INTO workers AS w (id, name, instance, gpu_code, gpu_name, memory_gb, labels, engine, fingerprints,
                              status_code, status_detail, token_id)
    VALUES (:id, :name, :instance, :gpu_code, :gpu_name, :memory_gb, CAST(:labels AS json), CAST(:engine AS json),
            :fingerprints, :status_code, :status_detail, :token_id)
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, gpu_code = excluded.gpu_code,
        gpu_name = excluded.gpu_name, memory_gb = excluded.memory_gb, labels = excluded.labels,
        engine = excluded.engine, fingerprints = excluded.fingerprints, status_code = excluded.status_code,
        status_detail = excluded.status_detail, token_id = excluded.token_id, last_seen_at = now()
    WHERE w.token_id IS NULL OR w.token_id = excluded.token_id
        OR EXISTS (SELECT FROM worker_tokens t WHERE t.id = w.token_id AND t.revoked_at IS NOT NULL)
    RETURNING id
""")

CONNECTED_SECONDS = 40.0
"""A worker whose last poll is older than this is not connected (a poll waits at most 30 seconds)."""

_SEEN = text("UPDATE workers SET last_seen_at = now() WHERE id = :id")

_CONNECTED = text("""
    SELECT name, gpu_code, status_code, status_detail, draining,
           coalesce(paused_until > clock_timestamp(), false) AS paused
    FROM workers
    WHERE last_seen_at > now() - make_interval(secs => :seconds)
""")


async def register(connection: Transaction, values: dict[str, Any]) -> UUID | None:
    """Insert or update the worker of this name; return its id, or None when the name belongs to another token."""
    row = {**values, "labels": orjson.dumps(values["labels"]).decode()}
    row["engine"] = None if values["engine"] is None else orjson.dumps(values["engine"]).decode()
    found: UUID | None = (await connection.execute(_REGISTER, row)).scalar_one_or_none()
    return found


async def token_of(connection: Transaction, name: str) -> UUID | None:
    """Return which token the name of a worker belongs to."""
    return (await connection.execute(select(workers.c.token_id).where(workers.c.name == name))).scalar_one_or_none()


async def by_id(connection: Transaction, worker_id: UUID) -> Row[Any] | None:
    """Return a worker."""
    return (await connection.execute(select(workers).where(workers.c.id == worker_id))).one_or_none()


async def seen(connection: Transaction, worker_id: UUID) -> None:
    """Note that a worker is alive."""
    await connection.execute(_SEEN, {"id": worker_id})


async def connected(connection: Transaction, seconds: float) -> list[Row[Any]]:
    """Return the workers that were seen within the last `seconds`."""
    return list(await connection.execute(_CONNECTED, {"seconds": seconds}))


def online() -> ColumnElement[bool]:
    """Tell of a worker's row whether it is connected."""
    return workers.c.last_seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, CONNECTED_SECONDS)


def selection() -> Select[Any]:
    """Select workers with `online` and `fingerprints_count`."""
    count = func.coalesce(func.array_length(workers.c.fingerprints, 1), 0)
    return select(workers, online().label("online"), count.label("fingerprints_count"))


async def shown(connection: Transaction, worker_id: UUID) -> Row[Any] | None:
    """Return one row of `selection`."""
    found: Row[Any] | None = (await connection.execute(selection().where(workers.c.id == worker_id))).one_or_none()
    return found


_RUNS_OF = text("""
    SELECT a.worker_id, r.id, r.status_code, r.comfyui_workflow_id, r.started_at
    FROM run_attempts a JOIN runs r ON r.id = a.run_id
    WHERE a.worker_id = ANY(:workers) AND a.status_code IN ('offered', 'live') AND r.org_id = :org
    ORDER BY a.offered_at
""")


async def runs_of(connection: Transaction, worker_ids: list[UUID], org_id: UUID) -> list[Row[Any]]:
    """Return what these workers hold of one organization's runs."""
    return list(await connection.execute(_RUNS_OF, {"workers": worker_ids, "org": org_id}))


async def set_draining(connection: Transaction, worker_id: UUID, draining: bool) -> bool:
    """Let a worker get no new runs, or again some; False when there is no such worker."""
    statement = update(workers).where(workers.c.id == worker_id).values(draining=draining)
    return (await connection.execute(statement)).rowcount > 0


STATUSES = ("ready", "no_engine", "engine_down")

WORKER_LIST = ListSpec(
    from_=workers,
    fields=(
        ListField("id", workers.c.id, FieldKind.UUID),
        ListField("name", workers.c.name, FieldKind.STRING),
        ListField("gpu_code", workers.c.gpu_code, FieldKind.STRING),
        ListField("memory_gb", workers.c.memory_gb, FieldKind.INT),
        ListField("status_code", workers.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField("online", online(), FieldKind.BOOL, sortable=False),
        ListField("draining", workers.c.draining, FieldKind.BOOL),
        ListField("last_seen_at", workers.c.last_seen_at, FieldKind.TIMESTAMP),
        ListField("created_at", workers.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Worker.model_fields),
)
