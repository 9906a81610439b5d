"""Rules of listing and draining workers. They serve all, so only the operator may (docs/api/metering.md, "Workers")."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.identity import require_operator
from runflow.db.transaction import Transaction
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, check_projection, envelope, page, project
from runflow.web.services import Services
from runflow.workers import queries
from runflow.workers.queries import WORKER_LIST
from runflow.workers.schemas import HeldRun, PatchWorker, Worker


async def list_workers(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the installation's workers. Raises `PermissionDenied`."""
    async with services.db.system(durable=False) as connection:
        await require_operator(connection, caller)
        rows = list(await connection.execute(build(WORKER_LIST, query, queries.selection())))
        found = page(WORKER_LIST, query, rows)
        items = await _records(connection, caller, found.rows)
    return envelope(found, [project(item, query) for item in items])


async def get(services: Services, caller: Principal, worker_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return one worker. Raises `PermissionDenied`, `WorkerNotFound`."""
    check_projection(query, WORKER_LIST.response_fields, WORKER_LIST.embeds)
    async with services.db.system(durable=False) as connection:
        await require_operator(connection, caller)
        row = await queries.shown(connection, worker_id)
        if row is None:
            raise errors.WorkerNotFound
        (found,) = await _records(connection, caller, [row])
    return project(found, query)


async def patch(services: Services, caller: Principal, worker_id: UUID, body: PatchWorker) -> dict[str, Any]:
    """Drain a worker or let it work again; what it has it finishes. Raises `PermissionDenied`, `WorkerNotFound`."""
    async with services.db.system() as connection:
        await require_operator(connection, caller)
        if not await queries.set_draining(connection, worker_id, body.draining):
            raise errors.WorkerNotFound
        await recorder.record(connection, caller, "worker.updated", "worker", worker_id, {"draining": body.draining})
    # A poll that waits looks at its lanes again.
    services.hub.publish("lanes")
    return await get(services, caller, worker_id, RecordQuery())


async def _records(connection: Transaction, caller: Principal, rows: list[Any]) -> list[dict[str, Any]]:
    held: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for run in await queries.runs_of(connection, [row.id for row in rows], caller.org_id):
        held[run.worker_id].append({name: run._mapping[name] for name in HeldRun.model_fields})
    own = [name for name in Worker.model_fields if name != "runs"]
    return [{**{name: row._mapping[name] for name in own}, "runs": held[row.id]} for row in rows]
