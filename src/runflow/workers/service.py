"""Rules of listing and draining workers. They serve all, so only the operator may (docs/api/metering.md, "Workers")."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations import queries as orgs
from runflow.accounts.organizations.identity import is_operator, require_operator
from runflow.db.notifications import announce
from runflow.db.transaction import Transaction
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services
from runflow.workers import queries
from runflow.workers.abilities import ability_memory
from runflow.workers.queries import WORKER_LIST, ShownWorker
from runflow.workers.schemas import PatchWorker

READ_SCOPE = "workers:read"
"""Opens whatever names workers."""
TOPIC = "worker"
"""Hints on it tell of one worker that it is offered other lanes than before."""


def hint(worker_id: UUID, state: str = "") -> str:
    """Return the subject of a hint that a worker has registered with this state; without one, that it was drained."""
    return f"{worker_id} {state}"


async def list_workers(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the installation's workers. Raises `PermissionDenied`."""
    async with services.db.system(durable=False) as transaction:
        await require_operator(transaction, caller)
        found = await read_page(transaction, WORKER_LIST, query, queries.selection(), row=ShownWorker, short=True)
        items = await _records(transaction, caller, found.rows)
    return envelope(found, [project(item, query) for item in items])


async def is_connected(services: Services, name: str) -> bool:
    """Tell whether a worker of this name asked for work a moment ago."""
    async with services.db.system(durable=False) as transaction:
        found = await queries.connected(transaction, queries.CONNECTED_SECONDS)
    return any(worker.name == name for worker in found)


async def having(services: Services, caller: Principal, contents: Collection[str]) -> dict[str, list[str]] | None:
    """Return the names of the connected workers whose engine has a model file of each of these contents, in order.

    None for a caller who may not list workers.
    """
    if READ_SCOPE not in caller.scopes:
        return None
    async with services.db.system(durable=False) as transaction:
        if not await is_operator(transaction, caller):
            return None
        connected = await queries.connected(transaction, queries.CONNECTED_SECONDS)
        told = await services.part(ability_memory).read(transaction, [worker.abilities for worker in connected])
    wanted = frozenset(contents)
    found: dict[str, list[str]] = defaultdict(list)
    for name, engine in sorted(zip((worker.name for worker in connected), told, strict=True), key=lambda one: one[0]):
        if engine is not None and engine.models is not None:
            for content in wanted & engine.models.contents:
                found[content].append(name)
    return found


async def get(services: Services, caller: Principal, worker_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return one worker. Raises `PermissionDenied`, `WorkerNotFound`."""
    check_projection(query, WORKER_LIST.response_fields, WORKER_LIST.embeds)
    async with services.db.system(durable=False) as transaction:
        await require_operator(transaction, caller)
        row = await queries.shown(transaction, worker_id)
        if row is None:
            raise errors.WorkerNotFound
        (found,) = await _records(transaction, caller, [row])
    return project(found, query)


async def patch(services: Services, caller: Principal, worker_id: UUID, body: PatchWorker) -> dict[str, Any]:
    """Drain a worker or let it work again; what it has it finishes. Raises `PermissionDenied`, `WorkerNotFound`."""
    async with services.db.system() as transaction:
        await require_operator(transaction, caller)
        if not await queries.set_draining(transaction, worker_id, body.draining):
            raise errors.WorkerNotFound
        await recorder.record(transaction, caller, "worker.updated", "worker", worker_id, {"draining": body.draining})
    services.hub.publish(TOPIC, hint(worker_id))
    return await get(services, caller, worker_id, RecordQuery())


async def remove(services: Services, caller: Principal, worker_id: UUID) -> None:
    """Take a worker that is gone off the lists. Raises `PermissionDenied`, `WorkerNotFound`, `Conflict`."""
    async with services.db.system() as transaction:
        await require_operator(transaction, caller)
        await _forget(transaction, worker_id)
        await recorder.record(transaction, caller, "worker.deleted", "worker", worker_id)


async def drain_by_operator(transaction: Transaction, worker_id: UUID, draining: bool) -> None:
    """Drain a worker or let it work again, from the command line. Raises `WorkerNotFound`."""
    if not await queries.set_draining(transaction, worker_id, draining):
        raise errors.WorkerNotFound
    await _record_operator(transaction, "worker.updated", worker_id, {"draining": draining})
    await announce(transaction, TOPIC, hint(worker_id))


async def remove_by_operator(transaction: Transaction, worker_id: UUID) -> None:
    """Take a worker that is gone off the lists, from the command line. Raises `WorkerNotFound`, `Conflict`."""
    await _forget(transaction, worker_id)
    await _record_operator(transaction, "worker.deleted", worker_id)


async def _record_operator(
    transaction: Transaction, action: str, worker_id: UUID, details: dict[str, Any] | None = None
) -> None:
    """Record it where the operator reads of it: workers belong to no organization."""
    first = await orgs.first(transaction)
    if first is not None:
        await recorder.record_operator(transaction, first.id, action, "worker", worker_id, details)


async def _forget(transaction: Transaction, worker_id: UUID) -> None:
    """Take a worker off the lists and free its name; what it did for runs stays theirs."""
    if await queries.remove(transaction, worker_id):
        return
    row = await queries.shown(transaction, worker_id)
    if row is None:
        raise errors.WorkerNotFound
    raise errors.Conflict(
        f"The worker {row.name} was connected within the last {queries.CONNECTED_SECONDS:.0f} seconds, or holds a run "
        "still. Drain it, stop it, and remove it then."
    )


async def _records(transaction: Transaction, caller: Principal, rows: list[ShownWorker]) -> list[dict[str, Any]]:
    held: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for run in await queries.runs_of(transaction, [row.id for row in rows], caller.org_id):
        held[run.worker_id].append(
            {
                "id": run.id,
                "status_code": run.status_code,
                "comfyui_workflow_id": run.comfyui_workflow_id,
                "started_at": run.started_at,
            }
        )
    return [_record(row, held[row.id]) for row in rows]


def _record(row: ShownWorker, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "gpu_code": row.gpu_code,
        "gpu_name": row.gpu_name,
        "memory_gb": row.memory_gb,
        "labels": row.labels,
        "status_code": row.status_code,
        "status_detail": row.status_detail,
        "online": row.online,
        "draining": row.draining,
        "takeovers": row.takeovers,
        "taken_over_at": row.taken_over_at,
        "engine": row.engine,
        "abilities": _abilities(row),
        "sandbox": row.sandbox,
        "last_seen_at": row.last_seen_at,
        "created_at": row.created_at,
        "runs": runs,
    }


def _abilities(row: ShownWorker) -> dict[str, Any] | None:
    told = row.abilities
    if told is None:
        return None
    return {
        "comfyui_version": told.get("comfyui_version"),
        "comfyui_commit": told.get("comfyui_commit"),
        "node_types_count": row.node_types_count,
        "node_packs_count": row.node_packs_count,
        "models_count": row.models_count,
        "places_models": bool(told.get("places_models")),
        "fetches_addresses": bool(told.get("fetches_addresses")),
        "allows_pickle": bool(told.get("allows_pickle")),
    }
