"""SQL of workers."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.workers.tables import workers

_REGISTER = text("""
    INSERT INTO workers AS w (id, name, instance, gpu_code, gpu_name, memory_gb, labels, engine, fingerprints,
                              status_code, status_detail)
    VALUES (:id, :name, :instance, :gpu_code, :gpu_name, :memory_gb, CAST(:labels AS json), CAST(:engine AS json),
            :fingerprints, :status_code, :status_detail)
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, gpu_code = excluded.gpu_code,
        gpu_name = excluded.gpu_name, memory_gb = excluded.memory_gb, labels = excluded.labels,
        engine = excluded.engine, fingerprints = excluded.fingerprints, status_code = excluded.status_code,
        status_detail = excluded.status_detail, last_seen_at = now()
    RETURNING id
""")

_SEEN = text("UPDATE workers SET last_seen_at = now() WHERE id = :id")

_CONNECTED = text("""
    SELECT name, gpu_code, status_code, status_detail FROM workers
    WHERE last_seen_at > now() - make_interval(secs => :seconds)
""")


async def register(connection: AsyncConnection, values: dict[str, Any]) -> UUID:
    """Insert or update the worker of this name; return its id."""
    row = {**values, "labels": orjson.dumps(values["labels"]).decode()}
    row["engine"] = None if values["engine"] is None else orjson.dumps(values["engine"]).decode()
    found: UUID = (await connection.execute(_REGISTER, row)).scalar_one()
    return found


async def by_id(connection: AsyncConnection, worker_id: UUID) -> Row[Any] | None:
    """Return a worker."""
    return (await connection.execute(select(workers).where(workers.c.id == worker_id))).one_or_none()


async def seen(connection: AsyncConnection, worker_id: UUID) -> None:
    """Note that a worker is alive."""
    await connection.execute(_SEEN, {"id": worker_id})


async def connected(connection: AsyncConnection, seconds: float) -> list[Row[Any]]:
    """Return the workers that were seen within the last `seconds`."""
    return list(await connection.execute(_CONNECTED, {"seconds": seconds}))
