"""Runtimes that workers build for versions: what they may fetch for that, and how it went."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog

from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.protocol.origins import canonical, is_commit
from runflow.protocol.runtimes import BuildOrder, BuildReport, Builds, SourceCommit
from runflow.web.services import Services
from runflow.workers.abilities import Told
from runflow.workflows.runtime import queries
from runflow.workflows.runtime.known import Known
from runflow.workflows.runtime.satisfies import is_built

log = structlog.get_logger()


async def order(services: Services, version_id: UUID, engine: Told) -> BuildOrder | None:
    """Return what a worker is told of building a version's runtime; None where its own ComfyUI has everything."""
    if engine is None or engine.builds is Builds.OFF:
        return None
    known = services.part(Known)
    version = await known.version(version_id)
    if not is_built(known.differences(version_id, version, engine)):
        return None
    if engine.builds is Builds.ON:
        return BuildOrder()
    async with services.db.system(durable=False) as transaction:
        rows = await queries.approved_sources(transaction, version_id)
    return BuildOrder(approved=[SourceCommit(row.origin, row.commit) for row in rows])


async def note(transaction: Transaction, version_id: UUID, worker_id: UUID, report: BuildReport) -> SourceCommit | None:
    """Keep how the build for a version went; what it found to need approval waits for that from then on.

    Return that source as the server names it, None where it found none.
    """
    await queries.note_build(
        transaction,
        {
            "worker": worker_id,
            "version": version_id,
            "runtime": report.runtime,
            "is_permanent": report.is_permanent and not report.succeeded,
            "succeeded": report.succeeded,
            "elapsed_ms": report.elapsed_ms,
            "step": report.step,
            "pack": report.pack,
            "message": report.message,
            "log": report.log,
        },
    )
    waits_for = report.waits_for
    if waits_for is None:
        return None
    origin, commit = canonical(waits_for.origin), waits_for.commit.lower()
    if origin is None or not is_commit(commit):
        log.warning("a worker wants a source that is none", origin=waits_for.origin[:200], commit=waits_for.commit[:64])
        return None
    values = {"id": new_id(), "origin": origin, "commit": commit, "version": version_id, "name": report.pack or origin}
    await queries.note_found_source(transaction, values)
    return SourceCommit(origin, commit)


async def told(services: Services, version_id: UUID) -> Sequence[dict[str, Any]]:
    """Return how the last build of a version's runtime went on each worker, the newest first."""
    async with services.db.system(durable=False) as transaction:
        rows = await queries.builds(transaction, version_id)
    return [
        {
            "worker": row.worker_name,
            "runtime": row.runtime,
            "succeeded": row.succeeded,
            "elapsed_ms": row.elapsed_ms,
            "step": row.step,
            "pack": row.pack,
            "message": row.message,
            "log": row.log,
            "ended_at": row.ended_at,
        }
        for row in rows
    ]
