"""SQL of the overview. Each statement counts; none reads what a tenant sent or made."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runflow.db.notifications import LISTENER
from runflow.db.transaction import Transaction

MOST_LANES = 100
MOST_WORKERS = 500

_INSTALLATION = """
    SELECT now() AS at, current_setting('server_version') AS database_version,
           pg_database_size(current_database()) AS database_bytes,
           (SELECT count(*) FROM organizations) AS organizations,
           (SELECT count(*) FROM pg_stat_activity
            WHERE application_name = %(listener)s AND datname = current_database()) AS server_processes
"""

_QUEUE = """
    SELECT coalesce(sum(depth), 0)::bigint AS queued, coalesce(sum(running), 0)::bigint AS running,
           max(greatest(0, extract(epoch FROM now() - oldest_at))) FILTER (WHERE depth > 0)::float8
               AS oldest_wait_seconds,
           count(*) AS lanes
    FROM lanes WHERE depth > 0 OR running > 0
"""

_LANES = """
    SELECT l.id, tenant.slug AS organization, owner.slug || '/' || w.slug AS workflow, v.number::text AS version,
           l.gpu_class, l.depth AS queued, l.running,
           CASE WHEN l.depth > 0 THEN greatest(0, extract(epoch FROM now() - l.oldest_at))::float8 END
               AS oldest_wait_seconds
    FROM lanes l
    JOIN organizations tenant ON tenant.id = l.org_id
    JOIN workflow_versions v ON v.id = l.version_id
    JOIN workflows w ON w.id = v.workflow_id
    JOIN organizations owner ON owner.id = w.org_id
    WHERE l.depth > 0 OR l.running > 0
    ORDER BY oldest_wait_seconds DESC NULLS LAST, l.id LIMIT %(limit)s
"""

_WORKERS = """
    SELECT w.id, w.name, w.gpu_code, w.status_code, w.status_detail,
           w.last_seen_at > now() - make_interval(secs => %(seconds)s) AS online, w.draining,
           coalesce(w.paused_until > now(), false) AS paused,
           (SELECT count(*) FROM run_attempts a WHERE a.worker_id = w.id AND a.status_code IN ('offered', 'live'))
               AS executing,
           w.last_seen_at, w.abilities->>'comfyui_version' AS comfyui_version,
           (SELECT length FROM worker_lists WHERE hash = w.abilities->>'node_types') AS node_types_count,
           (SELECT length FROM worker_lists WHERE hash = w.abilities->>'node_packs') AS node_packs_count,
           (SELECT length FROM worker_lists WHERE hash = w.abilities->>'models') AS models_count,
           w.sandbox->>'rung' AS sandbox_rung, CAST(w.sandbox->>'fork_level' AS integer) AS fork_level
    FROM workers w WHERE w.removed_at IS NULL ORDER BY online DESC, w.name LIMIT %(limit)s
"""

_DELIVERIES = """
    SELECT count(*) AS pending,
           count(*) FILTER (WHERE next_attempt_at < now() - interval '1 minute') AS overdue,
           extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()))::float8
               AS oldest_due_seconds
    FROM deliveries WHERE status_code = 'pending'
"""

# By id, which begins with the time (UUIDv7): the primary key finds the last hour among millions.
_COLD = """
    SELECT count(*) FILTER (WHERE cold_machine) AS machine, count(*) FILTER (WHERE cold_runtime) AS runtime,
           count(*) FILTER (WHERE cold_model) AS model, count(*) FILTER (WHERE cold_start) AS engine
    FROM runs WHERE id >= %(first)s
"""
_RECENT = "SELECT status_code, count(*) AS runs FROM runs WHERE id >= %(first)s GROUP BY status_code"


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """What PostgreSQL says of the installation."""

    at: datetime
    database_version: str
    database_bytes: int
    organizations: int
    server_processes: int


@dataclass(frozen=True, slots=True)
class QueueRow:
    """The lanes with runs, together."""

    queued: int
    running: int
    oldest_wait_seconds: float | None
    lanes: int


@dataclass(frozen=True, slots=True)
class LaneRow:
    """One lane that has runs."""

    id: UUID
    organization: str
    workflow: str
    version: str
    gpu_class: str
    queued: int
    running: int
    oldest_wait_seconds: float | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, with how many runs it holds."""

    id: UUID
    name: str
    gpu_code: str
    status_code: str
    status_detail: str | None
    online: bool
    draining: bool
    paused: bool
    executing: int
    last_seen_at: datetime
    comfyui_version: str | None = None
    node_types_count: int | None = None
    node_packs_count: int | None = None
    models_count: int | None = None
    sandbox_rung: str | None = None
    fork_level: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveriesRow:
    """The messages that have not arrived yet, together."""

    pending: int
    overdue: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class RecentRow:
    """How many of the last hour's runs are in one status."""

    status_code: str
    runs: int


@dataclass(frozen=True, slots=True)
class ColdRow:
    """How many of the last hour's runs were cold starts, by cause."""

    machine: int
    runtime: int
    model: int
    engine: int


async def installation(transaction: Transaction) -> InstallationRow:
    """Return time, database, organizations and server processes."""
    return await transaction.one(_INSTALLATION, {"listener": LISTENER}, row=InstallationRow)


async def queue(transaction: Transaction) -> QueueRow:
    """Return the counts of all lanes together."""
    return await transaction.one(_QUEUE, row=QueueRow)


async def lanes(transaction: Transaction) -> list[LaneRow]:
    """Return the lanes that have runs, the longest wait first."""
    return await transaction.rows(_LANES, {"limit": MOST_LANES}, row=LaneRow)


async def workers(transaction: Transaction, connected_seconds: float) -> list[WorkerRow]:
    """Return the workers, those seen within `connected_seconds` first."""
    return await transaction.rows(_WORKERS, {"seconds": connected_seconds, "limit": MOST_WORKERS}, row=WorkerRow)


async def deliveries(transaction: Transaction) -> DeliveriesRow:
    """Return how many messages are pending."""
    return await transaction.one(_DELIVERIES, row=DeliveriesRow)


async def recent_runs(transaction: Transaction, first_id: UUID) -> list[RecentRow]:
    """Count the runs from this id on, by status."""
    return await transaction.rows(_RECENT, {"first": first_id}, row=RecentRow)


async def recent_cold_starts(transaction: Transaction, first_id: UUID) -> ColdRow:
    """Count the cold starts among the runs from this id on."""
    return await transaction.one(_COLD, {"first": first_id}, row=ColdRow)
