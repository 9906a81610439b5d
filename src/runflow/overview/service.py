"""Rules of the overview: it counts over all tenants, so only the operator's organization reads it."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from runflow import __version__
from runflow.accounts.organizations.identity import require_operator
from runflow.db.transaction import Transaction
from runflow.ids import smallest_id
from runflow.overview import queries
from runflow.overview.schemas import RecentRuns
from runflow.storage.store import Space
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workers.queries import CONNECTED_SECONDS

RECENT = timedelta(hours=1)


async def overview(services: Services, caller: Principal) -> dict[str, Any]:
    """Return the installation at this moment. Raises `PermissionDenied`, and `Unavailable` when the disk is gone."""
    space = await services.storage.space()
    async with services.db.system(durable=False) as transaction:
        await require_operator(transaction, caller)
        return await collect(transaction, space)


async def collect(transaction: Transaction, space: Space | None) -> dict[str, Any]:
    """Return the installation as a system transaction sees it; `space` is None where files lie in a bucket."""
    found = await queries.installation(transaction)
    total = await queries.queue(transaction)
    hour_ago = smallest_id(found.at - RECENT)
    recent = await queries.recent_runs(transaction, hour_ago)
    return {
        "at": found.at,
        "server": {"version": __version__, "processes": found.server_processes},
        "database": {"version": found.database_version, "size_bytes": found.database_bytes},
        "storage": {
            "kind_code": "bucket" if space is None else "disk",
            "free_bytes": None if space is None else space.free_bytes,
            "total_bytes": None if space is None else space.total_bytes,
        },
        "organizations": found.organizations,
        "queue": {
            "queued": total.queued,
            "running": total.running,
            "oldest_wait_seconds": total.oldest_wait_seconds,
            "lanes": [asdict(lane) for lane in await queries.lanes(transaction)],
            "lanes_total": total.lanes,
        },
        "workers": [asdict(worker) for worker in await queries.workers(transaction, CONNECTED_SECONDS)],
        "deliveries": asdict(await queries.deliveries(transaction)),
        "last_hour": dict.fromkeys(RecentRuns.model_fields, 0) | {row.status_code: row.runs for row in recent},
        "cold_starts_last_hour": asdict(await queries.recent_cold_starts(transaction, hour_ago)),
    }
