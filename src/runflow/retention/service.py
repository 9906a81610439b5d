"""Rules of retention: how old what may get. Each function removes one batch and returns how many it removed.

Objects go before the commit that says so. A process that dies in between leaves rows that are found again, and objects
that are removed once more, never a row that names what is gone for good or an object that no row knows.
"""

from datetime import datetime, timedelta
from uuid import UUID

from runflow.db.set_aside import RETENTION_SECONDS, SetAside
from runflow.db.transaction import Transaction
from runflow.ids import smallest_id
from runflow.retention import queries
from runflow.retention.queries import OldRunRow
from runflow.web.services import Services

OUTPUT_BATCH = 100
EVENT_BATCH = 5000
RUN_BATCH = 100


async def expire_outputs(services: Services, now: datetime) -> int:
    """Remove the outputs of runs that ended `RUNFLOW_OUTPUT_RETENTION_DAYS` ago; the runs stay."""
    days = services.settings.output_retention_days
    if days is None:
        return 0
    aside = services.part(_outputs_aside)
    async with services.db.system() as transaction:
        runs = await queries.expire_outputs(
            transaction, before=now - timedelta(days=days), limit=OUTPUT_BATCH, aside=aside.ids
        )
        failed = [run for run in runs if not await aside.attempt(run, _remove_objects(services, run))]
        if failed:
            await queries.keep_outputs(transaction, failed)
    return len(runs) - len(failed)


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
    before, aside = now - timedelta(days=days), services.part(_runs_aside)
    async with services.db.system() as transaction:
        runs = await queries.old_runs(
            transaction, before=before, first_id=smallest_id(before), limit=RUN_BATCH, aside=aside.ids
        )
        done = [await aside.attempt(run.id, _remove_run(services, transaction, run)) for run in runs]
    return sum(done)


async def _remove_run(services: Services, transaction: Transaction, run: OldRunRow) -> None:
    async with transaction.savepoint():
        await _remove_objects(services, run.id)
        await queries.remove_runs(transaction, [run.id], [run.batch_id] if run.batch_id else [])


async def _remove_objects(services: Services, run: UUID) -> None:
    # By prefix: a succeeded attempt may have stored more than its completion named.
    await services.storage.delete([key async for key in services.storage.list(f"runs/{run}")])


def _outputs_aside(_services: Services) -> SetAside:
    return SetAside("outputs of a run", first_seconds=RETENTION_SECONDS)


def _runs_aside(_services: Services) -> SetAside:
    return SetAside("run", first_seconds=RETENTION_SECONDS)
