"""SQL of workers, and what their list can be filtered and sorted by."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, func, select

from runflow.db.transaction import Transaction
from runflow.protocol.abilities import LIST_NAMES
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.schemas import Worker
from runflow.workers.tables import worker_lists, workers

_REGISTER = """
    INSERT INTO workers AS w (id, name, instance, gpu_code, gpu_name, memory_gb, labels, engine,
                              status_code, status_detail, token_id, abilities, abilities_hash, abilities_at, sandbox,
                              ready_at)
    VALUES (%(id)s, %(name)s, %(instance)s, %(gpu_code)s, %(gpu_name)s, %(memory_gb)s, CAST(%(labels)s AS json),
            CAST(%(engine)s AS json), %(status_code)s, %(status_detail)s, %(token_id)s,
            CAST(%(abilities)s AS json), %(abilities_hash)s, clock_timestamp(), CAST(%(sandbox)s AS json),
            CASE WHEN %(status_code)s = 'ready' THEN now() END)
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, gpu_code = excluded.gpu_code,
        gpu_name = excluded.gpu_name, memory_gb = excluded.memory_gb, labels = excluded.labels,
        engine = excluded.engine, status_code = excluded.status_code,
        status_detail = excluded.status_detail, token_id = excluded.token_id, last_seen_at = now(), removed_at = NULL,
        abilities = excluded.abilities, abilities_hash = excluded.abilities_hash, sandbox = excluded.sandbox,
        abilities_at = CASE WHEN w.abilities_hash IS NOT DISTINCT FROM excluded.abilities_hash
                       AND w.sandbox::text IS NOT DISTINCT FROM excluded.sandbox::text
                       AND w.instance = excluded.instance THEN w.abilities_at ELSE excluded.abilities_at END,
        former_instances = CASE WHEN w.instance = excluded.instance THEN w.former_instances
                           ELSE (w.instance || w.former_instances)[1:64] END,
        instance_at = CASE WHEN w.instance = excluded.instance THEN w.instance_at ELSE now() END,
        ready_at = CASE WHEN w.instance = excluded.instance THEN coalesce(w.ready_at, excluded.ready_at)
                   ELSE excluded.ready_at END
    WHERE (w.token_id IS NULL OR w.token_id = excluded.token_id
        OR (w.instance <> excluded.instance
            AND EXISTS (SELECT FROM worker_tokens t WHERE t.id = w.token_id AND t.revoked_at IS NOT NULL)))
        AND excluded.instance <> ALL (w.former_instances)
    RETURNING id
"""

CONNECTED_SECONDS = 40.0
"""A worker whose last poll is older than this is not connected (a poll waits at most 30 seconds)."""

# All that a worker registers which decides what it is offered, and which life of it did: two registrations with the
# same are the same. Not MD5, which fails where PostgreSQL keeps to FIPS.
_STATE = """encode(sha256(convert_to(concat_ws(' ', instance::text, coalesce(abilities_hash, ''), gpu_code, status_code,
    memory_gb::text, labels::text, sandbox::text), 'UTF8')), 'hex')"""

# What the operator says of a class counts where its worker does not know.
_MEMORY = """coalesce(nullif(memory_gb, 0), (SELECT g.memory_gb FROM gpus g WHERE g.code = gpu_code), 0) AS memory_gb"""

# Who asks for work is ready: a status that says otherwise is somebody else's, or old.
_SEEN = f"""
    UPDATE workers SET last_seen_at = now(), status_code = CASE WHEN %(ready)s THEN 'ready' ELSE status_code END,
        status_detail = CASE WHEN %(ready)s THEN NULL ELSE status_detail END
    WHERE id = %(id)s AND instance = %(instance)s RETURNING {_STATE}
"""  # noqa: S608 - the constant above

_OWNER = "SELECT token_id FROM workers WHERE name = %(name)s"

_BY_ID = f"""
    SELECT instance, token_id, gpu_code, {_MEMORY}, status_code, labels, abilities, sandbox, {_STATE} AS state
    FROM workers WHERE id = %(id)s
"""  # noqa: S608 - the constant above

_NOTE_TAKEOVER = """
    UPDATE workers SET takeovers = takeovers + %(count)s, taken_over_at = clock_timestamp()
    WHERE (id = %(id)s OR name = %(name)s) AND %(instance)s = ANY (former_instances)
    RETURNING name
"""

# Who has as many runs as it wants does not ask for more, and is there all the same.
_IS_CONNECTED = """(last_seen_at > now() - make_interval(secs => %(seconds)s)
        OR EXISTS (SELECT FROM run_attempts a
                   WHERE a.worker_id = workers.id AND a.status_code IN ('offered', 'live')))"""

_PRICE = "coalesce((SELECT g.price_per_second FROM gpus g WHERE g.code = gpu_code), 0) AS price_per_second"

_CONNECTED = f"""
    SELECT id, name, gpu_code, {_MEMORY}, {_PRICE}, status_code, status_detail, draining,
           coalesce(paused_until > clock_timestamp(), false) AS paused, labels, abilities, sandbox
    FROM workers
    WHERE {_IS_CONNECTED}
"""  # noqa: S608 - the constants above

_WORKING_CLASSES = f"""
    SELECT DISTINCT gpu_code AS code, {_MEMORY}, {_PRICE}
    FROM workers
    WHERE status_code = 'ready' AND NOT draining AND coalesce(paused_until <= clock_timestamp(), true)
      AND {_IS_CONNECTED}
"""  # noqa: S608 - the constants above


async def register(transaction: Transaction, values: dict[str, Any]) -> UUID | None:
    """Insert or update the worker of this name; return its id.

    None: the name belongs to another token, or another process has taken it from this one. A process keeps its token,
    so the leases of an instance never pass on to another one.
    """
    row = {**values, "labels": orjson.dumps(values["labels"]).decode()}
    for name in ("engine", "abilities", "sandbox"):
        row[name] = None if values[name] is None else orjson.dumps(values[name]).decode()
    return await transaction.value(_REGISTER, row, of=UUID)


async def token_of(transaction: Transaction, name: str) -> UUID | None:
    """Return which token the name of a worker belongs to."""
    return await transaction.value(_OWNER, {"name": name}, of=UUID)


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """What a worker said of itself when it registered last, as far as leases need it."""

    instance: UUID
    token_id: UUID | None
    gpu_code: str
    memory_gb: int
    status_code: str
    labels: dict[str, str]
    abilities: dict[str, Any] | None
    sandbox: dict[str, Any] | None
    state: str


async def by_id(transaction: Transaction, worker_id: UUID) -> RegisteredWorker | None:
    """Return a worker."""
    return await transaction.first(_BY_ID, {"id": worker_id}, row=RegisteredWorker)


async def seen(transaction: Transaction, worker_id: UUID, instance: UUID, *, ready: bool) -> str | None:
    """Note that a worker is alive, and ready if it is; return the state in which it has registered.

    None where another process has its name.
    """
    return await transaction.value(_SEEN, {"id": worker_id, "instance": instance, "ready": ready}, of=str)


async def note_takeover(
    transaction: Transaction, instance: UUID, *, count: int, worker_id: UUID | None = None, name: str | None = None
) -> str | None:
    """Count that a process still spoke after another one took its name; return that. None: it never had it."""
    values = {"instance": instance, "count": count, "id": worker_id, "name": name}
    return await transaction.value(_NOTE_TAKEOVER, values, of=str)


@dataclass(frozen=True, slots=True)
class GpuClass:
    """A GPU class as some workers are of it, which may differ in memory. GiB, 0: none or not known; USD per second."""

    code: str
    memory_gb: int
    price_per_second: Decimal


@dataclass(frozen=True, slots=True)
class ConnectedWorker:
    """A worker that asked for work a moment ago, or has some, and what keeps it from getting any."""

    id: UUID
    name: str
    gpu_code: str
    status_code: str
    status_detail: str | None
    draining: bool
    paused: bool
    labels: dict[str, str] = field(default_factory=dict)
    abilities: dict[str, Any] | None = None
    sandbox: dict[str, Any] | None = None
    memory_gb: int = 0
    """Of its GPU in GiB; 0: none, or not known."""
    price_per_second: Decimal = Decimal(0)

    @property
    def takes_runs(self) -> bool:
        """Whether it is offered any at the moment."""
        return self.status_code == "ready" and not self.draining and not self.paused

    @property
    def gpu_class(self) -> GpuClass:
        """Its class, as it is of it."""
        return GpuClass(self.gpu_code, self.memory_gb, self.price_per_second)


async def connected(transaction: Transaction, seconds: float) -> list[ConnectedWorker]:
    """Return the workers that were seen within the last `seconds`, and those that hold a run."""
    return await transaction.rows(_CONNECTED, {"seconds": seconds}, row=ConnectedWorker)


async def working_classes(transaction: Transaction, seconds: float) -> list[GpuClass]:
    """Return the classes of the workers that were seen within the last `seconds`, or hold a run, and may get runs."""
    return await transaction.rows(_WORKING_CLASSES, {"seconds": seconds}, row=GpuClass)


def online() -> ColumnElement[bool]:
    """Tell of a worker's row whether it is connected."""
    return workers.c.last_seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, CONNECTED_SECONDS)


@dataclass(frozen=True, slots=True)
class ShownWorker:
    """A worker as the operator sees it."""

    id: UUID
    name: str
    gpu_code: str
    gpu_name: str | None
    memory_gb: int
    labels: dict[str, str]
    status_code: str
    status_detail: str | None
    online: bool
    draining: bool
    takeovers: int
    taken_over_at: datetime | None
    engine: dict[str, Any] | None
    abilities: dict[str, Any] | None
    node_types_count: int | None
    node_packs_count: int | None
    models_count: int | None
    sandbox: dict[str, Any] | None
    last_seen_at: datetime
    created_at: datetime


def _count(name: str) -> ColumnElement[Any]:
    """Count the items of a list that a worker named; null where it named none, or has not sent it yet."""
    return (
        select(worker_lists.c.length)
        .where(worker_lists.c.hash == func.json_extract_path_text(workers.c.abilities, name))
        .scalar_subquery()
        .label(f"{name}_count")
    )


def selection() -> Select[Any]:
    """Select the workers that were not removed, as `ShownWorker` has them."""
    return select(
        workers.c.id,
        workers.c.name,
        workers.c.gpu_code,
        workers.c.gpu_name,
        workers.c.memory_gb,
        workers.c.labels,
        workers.c.status_code,
        workers.c.status_detail,
        online().label("online"),
        workers.c.draining,
        workers.c.takeovers,
        workers.c.taken_over_at,
        workers.c.engine,
        workers.c.abilities,
        *(_count(name) for name in LIST_NAMES),
        workers.c.sandbox,
        workers.c.last_seen_at,
        workers.c.created_at,
    ).where(workers.c.removed_at.is_(None))


async def shown(transaction: Transaction, worker_id: UUID) -> ShownWorker | None:
    """Return one row of `selection`."""
    return await transaction.first(selection().where(workers.c.id == worker_id), row=ShownWorker)


_RUNS_OF = """
    SELECT a.worker_id, r.id, r.status_code, r.comfyui_workflow_id, r.started_at
    FROM run_attempts a JOIN runs r ON r.id = a.run_id
    WHERE a.worker_id = ANY(%(workers)s) AND a.status_code IN ('offered', 'live') AND r.org_id = %(org)s
    ORDER BY a.offered_at
"""

_SET_DRAINING = "UPDATE workers SET draining = %(draining)s WHERE id = %(id)s AND removed_at IS NULL"

# Its name is free for another token, and the next worker of the name is not drained for what this one did.
_REMOVE = """
    UPDATE workers w SET removed_at = now(), token_id = NULL, draining = false
    WHERE id = %(id)s AND removed_at IS NULL AND last_seen_at <= now() - make_interval(secs => %(seconds)s)
        AND NOT EXISTS (SELECT FROM run_attempts a WHERE a.worker_id = w.id AND a.status_code IN ('offered', 'live'))
"""


_NAMED = "SELECT id FROM workers WHERE name = %(name)s AND removed_at IS NULL"


@dataclass(frozen=True, slots=True)
class RunOfWorker:
    """A run that a worker holds."""

    worker_id: UUID
    id: UUID
    status_code: str
    comfyui_workflow_id: UUID
    started_at: datetime | None


async def runs_of(transaction: Transaction, worker_ids: list[UUID], org_id: UUID) -> list[RunOfWorker]:
    """Return what these workers hold of one organization's runs."""
    return await transaction.rows(_RUNS_OF, {"workers": worker_ids, "org": org_id}, row=RunOfWorker)


async def set_draining(transaction: Transaction, worker_id: UUID, draining: bool) -> bool:
    """Let a worker get no new runs, or again some; False when there is no such worker."""
    return await transaction.change(_SET_DRAINING, {"id": worker_id, "draining": draining}) > 0


async def remove(transaction: Transaction, worker_id: UUID) -> bool:
    """Take a worker off the lists; False when it is connected, holds a run, or is not there."""
    return await transaction.change(_REMOVE, {"id": worker_id, "seconds": CONNECTED_SECONDS}) > 0


async def named(transaction: Transaction, name: str) -> UUID | None:
    """Return the worker of this name, None when there is none or it was removed."""
    return await transaction.value(_NAMED, {"name": name}, of=UUID)


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
