"""Takes in runs: many submits, one durable commit.

Submits of one organization that arrive while a commit is under way go together into the next one, so the disk and the
lane row are waited for once per batch, and workers are notified once per batch. A submit returns only when its run is
committed.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.db.transaction import REFUSED_VALUES, Transaction
from runflow.db.unit_of_work import current_unit
from runflow.queue import queries
from runflow.queue.backlog import TOPIC, lane_hint
from runflow.queue.choose import lane_id
from runflow.queue.unfinished import Unfinished

MAX_BATCH = 100


@dataclass(frozen=True, slots=True, eq=False)
class NewRun:
    """A validated run, ready to wait in its lane."""

    id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    version_id: UUID
    target_version: str
    fingerprint: str
    gpu_class: str
    timeout_seconds: int
    input: dict[str, Any]
    metadata: dict[str, Any] | None = None
    client_ref: str | None = None
    callback_url: str | None = None
    request_id: str | None = None
    created_by: UUID | None = None
    source_code: str = "api"
    priority: int = 0
    batch_id: UUID | None = None
    batch_index: int | None = None
    rerun_of: UUID | None = None

    @property
    def lane(self) -> UUID:
        """The lane in which it waits."""
        return lane_id(self.org_id, self.version_id, self.gpu_class)


Statements = Callable[[Transaction], Awaitable[None]]
"""Statements for a transaction that is being written."""


class Intake:
    """The one way by which runs enter the queue."""

    def __init__(self, db: Database, hub: Hub, unfinished: Unfinished) -> None:
        """Commit through `db`, wake workers through `hub`."""
        self._db = db
        self._hub = hub
        self._unfinished = unfinished
        self._waiting: dict[UUID, list[tuple[NewRun, asyncio.Future[datetime]]]] = defaultdict(list)
        self._committers: dict[UUID, asyncio.Task[None]] = {}

    async def submit(self, run: NewRun) -> datetime:
        """Commit a run as `queued` and return its `created_at`. Raises what the database raised.

        Inside a unit of work it is inserted there, and commits with it.
        """
        if current_unit() is not None:
            times = await self._insert(run.org_id, [run])
            self._tell([run])
            return times[run.id]
        accepted: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
        self._waiting[run.org_id].append((run, accepted))
        self._unfinished.queued(run.org_id, run.id)
        if run.org_id not in self._committers:
            self._committers[run.org_id] = asyncio.create_task(self._commit_all(run.org_id))
        # A caller that goes away does not take its run back: it may be committed already.
        return await asyncio.shield(accepted)

    async def submit_together(self, runs: list[NewRun], before: Statements) -> datetime:
        """Commit runs of one organization, all or none, and return when the first was created.

        `before` writes, in the same transaction, the row that they refer to. They wait among the organization's other
        runs. Raises what the database raised.
        """
        times = await self._insert(runs[0].org_id, runs, before)
        self._tell(runs)
        return times[runs[0].id]

    async def _commit_all(self, org_id: UUID) -> None:
        waiting = self._waiting[org_id]
        try:
            while waiting:
                batch = waiting[:MAX_BATCH]
                del waiting[: len(batch)]
                await self._commit(org_id, batch)
        finally:
            del self._committers[org_id]
            if not self._waiting[org_id]:
                del self._waiting[org_id]

    async def _commit(self, org_id: UUID, batch: list[tuple[NewRun, asyncio.Future[datetime]]]) -> None:
        try:
            times = await self._insert(org_id, [run for run, _ in batch])
        except Exception as error:
            if len(batch) > 1 and isinstance(error, REFUSED_VALUES):
                # One bad row must not fail its neighbours. (After a lost connection nobody knows what was committed.)
                for single in batch:
                    await self._commit(org_id, [single])
                return
            for run, accepted in batch:
                self._unfinished.forget(run.id)
                if not accepted.done():
                    accepted.set_exception(error)
            return
        self._tell([run for run, _ in batch])
        for run, accepted in batch:
            if not accepted.done():
                accepted.set_result(times[run.id])

    def _tell(self, runs: list[NewRun]) -> None:
        """Give the hint that these runs wait, and where: whoever is told of lanes does not look at all others."""
        for lane, gpu_class in {(run.lane, run.gpu_class) for run in runs}:
            self._hub.publish(TOPIC, lane_hint(lane, gpu_class))

    async def _insert(self, org_id: UUID, runs: list[NewRun], before: Statements | None = None) -> dict[UUID, datetime]:
        """Put runs into their lanes in one transaction; return when each was created, by its id."""
        async with self._db.tenant(org_id) as transaction:
            if before is not None:
                await before(transaction)
            inserted = await queries.insert_runs(transaction, [_row(run) for run in runs])
            for of_lane in _by_lane(runs):
                await queries.enter_lane(
                    transaction,
                    lane=of_lane[0].lane,
                    version=of_lane[0].version_id,
                    gpu_class=of_lane[0].gpu_class,
                    fingerprint=of_lane[0].fingerprint,
                    count=len(of_lane),
                    priority=max(run.priority for run in of_lane),
                )
        return {row.id: row.created_at for row in await inserted.fetchall()}


def _by_lane(runs: Iterable[NewRun]) -> list[list[NewRun]]:
    """Group by lane, in lane order, so that two batches lock lanes in the same order."""
    ordered = sorted(runs, key=lambda run: run.lane)
    return [list(group) for _, group in groupby(ordered, key=lambda run: run.lane)]


def _row(run: NewRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "comfyui_workflow_id": run.comfyui_workflow_id,
        "version_id": run.version_id,
        "target_version": run.target_version,
        "source_code": run.source_code,
        "input": run.input,
        "metadata": run.metadata,
        "client_ref": run.client_ref,
        "callback_url": run.callback_url,
        "request_id": run.request_id,
        "created_by": run.created_by,
        "lane_id": run.lane,
        "gpu_class": run.gpu_class,
        "priority": run.priority,
        "timeout_seconds": run.timeout_seconds,
        "batch_id": run.batch_id,
        "batch_index": run.batch_index,
        "rerun_of": run.rerun_of,
    }
