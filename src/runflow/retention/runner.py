"""Runs retention beside the server: batch after batch, with pauses, saying what it removed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from runflow.assets.retention import expire_inline_files, purge_deleted_assets, sweep_stale_uploads
from runflow.deliveries.retention import sweep_deliveries
from runflow.models.uploads import sweep_model_uploads
from runflow.queue.sweeper import Sweeper
from runflow.retention import service
from runflow.web.idempotency import sweep_idempotency_keys
from runflow.web.services import Services

log = structlog.get_logger()

ROUND_SECONDS = 300.0
JOB_SECONDS = 60.0
"""How long one kind of thing is removed before the others have their turn; the rest waits for the next round."""
PAUSE_SECONDS = 0.05
"""Between two batches: whoever submits and completes runs comes first."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of thing to remove; `batch` removes some and returns how many, 0 when nothing is left."""

    name: str
    batch: Callable[[], Awaitable[int]]


class RetentionRunner:
    """Runs on every server process; row locks keep two of them from doing the same thing."""

    def __init__(self, services: Services) -> None:
        """Prepare; `run` does the work."""
        self._services = services
        sweeper = Sweeper(services)
        self.jobs: tuple[Job, ...] = (
            Job("outputs of failed attempts", sweeper.sweep_objects),
            Job("outputs of lapsed offers", sweeper.sweep_leftovers),
            Job("uploads that nobody confirmed", lambda: sweep_stale_uploads(services)),
            Job("uploads of models that nobody went on with", lambda: sweep_model_uploads(services)),
            Job("files that came inside requests", lambda: expire_inline_files(services, datetime.now(UTC))),
            Job("deleted assets", lambda: purge_deleted_assets(services)),
            Job("outputs", lambda: service.expire_outputs(services, datetime.now(UTC))),
            Job("deliveries", lambda: sweep_deliveries(services)),
            Job("events", lambda: service.forget_events(services, datetime.now(UTC))),
            Job("runs", lambda: service.remove_runs(services, datetime.now(UTC))),
            Job("idempotency keys", lambda: sweep_idempotency_keys(services.db)),
        )

    async def run(self) -> None:
        """Remove what is due every five minutes until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> dict[str, int]:
        """Give each job its turn and return how much each removed. Trouble with one stops none of the others."""
        removed = {}
        for job in self.jobs:
            removed[job.name] = await self._turn(job)
        return removed

    async def _turn(self, job: Job) -> int:
        started, total = time.monotonic(), 0
        try:
            while (count := await job.batch()) and time.monotonic() - started < JOB_SECONDS:
                total += count
                await asyncio.sleep(PAUSE_SECONDS)
            total += count
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else repr(error)
            log.warning("retention failed, trying again later", what=job.name, removed=total, error=first)
        if total:
            log.info("removed", what=job.name, count=total, seconds=round(time.monotonic() - started, 1))
        return total
