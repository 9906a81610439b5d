"""SQL of the sweeper: what nobody holds any more."""

from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction

_EXPIRED = """
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.status_code = ANY(%(states)s) AND a.expires_at < clock_timestamp() ORDER BY a.expires_at LIMIT 100
"""

_OF_OLDER_LIVES = """
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.worker_id = %(worker)s AND a.worker_instance <> %(instance)s AND a.status_code IN ('offered', 'live')
"""

_UNSWEPT = """
    SELECT id, run_id FROM run_attempts
    WHERE status_code IN ('failed', 'cancelled', 'lost') AND NOT objects_swept
      AND completed_at < clock_timestamp() - make_interval(secs => %(after_seconds)s)
    ORDER BY completed_at LIMIT 100
"""

_MARK_SWEPT = "UPDATE run_attempts SET objects_swept = true WHERE id = ANY(%(ids)s)"


async def expired(connection: Transaction, states: list[str]) -> list[Any]:
    """Return leases in these states that were not renewed in time."""
    return await connection.rows(_EXPIRED, {"states": states})


async def is_expired(connection: Transaction, lease: UUID) -> bool:
    """Tell whether a locked lease has run out: it may have been renewed while we waited for the lock."""
    statement = "SELECT expires_at < clock_timestamp() FROM run_attempts WHERE id = %(lease)s"
    return bool((await connection.one(statement, {"lease": lease}))[0])


async def worker_name(connection: Transaction, worker: UUID) -> str:
    """Return the name of a worker, for messages."""
    statement = "SELECT name FROM workers WHERE id = %(worker)s"
    return str((await connection.one(statement, {"worker": worker}))[0])


async def of_older_lives(connection: Transaction, *, worker: UUID, instance: UUID) -> list[Any]:
    """Return the open leases of a worker's earlier processes."""
    return await connection.rows(_OF_OLDER_LIVES, {"worker": worker, "instance": instance})


async def unswept(connection: Transaction, after_seconds: float) -> list[Any]:
    """Return attempts that ended without being the run's result and whose uploaded objects may still lie around."""
    return await connection.rows(_UNSWEPT, {"after_seconds": after_seconds})


async def mark_swept(connection: Transaction, attempts: list[UUID]) -> None:
    """Note that nothing of these attempts is left in storage."""
    await connection.run(_MARK_SWEPT, {"ids": attempts})
