"""Rules of retention: how old what may get. Each function removes one batch and returns how many it removed.

Objects go before the commit that says so. A process that dies in between leaves rows that are found again, and objects
that are removed once more, never a row that names what is gone for good or an object that no row knows.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from runflow.ids import smallest_id
from runflow.retention import queries
from runflow.web.services import Services

OUTPUT_BATCH = 100
EVENT_BATCH = 5000
RUN_BATCH = 100


async def expire_outputs(services: Services, now: datetime) -> int:
    """Remove the outputs of runs that ended `RUNFLOW_OUTPUT_RETENTION_DAYS` ago; the runs stay."""
    days = services.settings.output_retention_days
    if days is None:
        return 0
    async with services.db.system() as transaction:
        runs = await queries.expire_outputs(transaction, before=now - timedelta(days=days), limit=OUTPUT_BATCH)
        await _remove_objects(services, runs)
    return len(runs)


async def forget_events(services: Services, now: datetime) -> int:
    """Remove events and logs older than `RUNFLOW_EVENT_RETENTION_DAYS` of runs that have ended."""
    days = services.settings.event_retention_days
    if days is None:
        return 0
    async with services.db.system() as transaction:
        return await queries.forget_events(transaction, before=now - timedelta(days=days), limit=EVENT_BATCH)


async def remove_runs(services: Services, now: datetime) -> int:
    """Remove runs that ended `RUNFLOW_RUN_RETENTION_DAYS` ago, with all that belongs to them but the bill.

    A run waits for its callbacks and for the rest of its batch.
    """
    days = services.settings.run_retention_days
    if days is None:
        return 0
    before = now - timedelta(days=days)
    async with services.db.system() as transaction:
        runs = await queries.old_runs(transaction, before=before, first_id=smallest_id(before), limit=RUN_BATCH)
        ids = [run.id for run in runs]
        await _remove_objects(services, ids)
        await queries.remove_runs(transaction, ids, list({run.batch_id for run in runs if run.batch_id}))
    return len(ids)


async def _remove_objects(services: Services, runs: Sequence[UUID]) -> None:
    # By prefix: a succeeded attempt may have stored more than its completion named.
    await services.storage.delete([key for run in runs async for key in services.storage.list(f"runs/{run}")])
