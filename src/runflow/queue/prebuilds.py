"""Pre-builds as workers carry them out: given to one that has no run and may run the version, taken up again when lost.

Who may run a version is decided as for runs (`workflows/runtime/satisfies.py`). A worker holds one by a lease that it
renews; it keeps no run waiting for it (docs/worker-api.md).
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.protocol.leases import LeasedVersion
from runflow.protocol.prebuilds import PrebuildOrder, PrebuildReport, PrebuildReported
from runflow.queue import prebuild_queries as queries
from runflow.queue.leased_files import LeasedFiles
from runflow.queue.prebuild_queries import HeldPrebuild, OpenPrebuild
from runflow.web.services import Services
from runflow.workers.abilities import Told
from runflow.workers.service import TOPIC as WORKERS
from runflow.workflows.fields import GpuMode
from runflow.workflows.prebuilds.service import TOPIC
from runflow.workflows.runtime import builds
from runflow.workflows.runtime import service as runtime
from runflow.workflows.runtime.known import ANY_GPU, Known
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY
from runflow.workflows.versions.payload import remembered_version, version_payload

LEASE_SECONDS = 60.0
"""A pre-build of which its worker says nothing for so long is another's."""
REPORT_SECONDS = 5.0
MOST_TRIES = 3
"""A pre-build that workers have begun so often and not ended, or that trouble which may pass has ended, has failed."""
PAUSE_SECONDS = 30.0
"""How long nobody tries again what has just failed, for each try."""
RELEASED_SECONDS = 2.0
"""How long nobody is given what a worker has given back: its run comes first."""
LOOK_SECONDS = 5.0
"""How often a worker that waits looks without a hint."""
READ_SECONDS = 1.0
"""How long all who ask go by what one of them has read."""
UNABLE_SECONDS = 10.0
"""How long a worker that could not take one is not compared with it again, unless something has changed."""
MOST_OPEN = 500
MOST_COMPARED = 20
"""So many are compared with a worker in one look; the next look goes on."""
MOST_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class PrebuildAsker:
    """A worker that asks for something to prepare, and what its engine can do."""

    worker_id: UUID
    instance: UUID
    engine: Told


class Prebuilds:
    """Gives pre-builds to workers, for one server process."""

    def __init__(self, services: Services, leased: LeasedFiles) -> None:
        """Serve with these parts, and hear of what is asked for and of what workers can do."""
        self._services = services
        self._leased = leased
        self._known = services.part(Known)
        self._open: Sequence[OpenPrebuild] = ()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._unable: dict[tuple[UUID, UUID], float] = {}
        for topic in (TOPIC, ELIGIBILITY, WORKERS):
            services.hub.on(topic, self._forget)

    def _forget(self, _subject: str) -> None:
        self._read_at = float("-inf")
        self._unable.clear()

    async def next(self, asker: PrebuildAsker, base_url: str, *, wait_seconds: float) -> PrebuildOrder | None:
        """Return what a worker is to prepare, waiting up to `wait_seconds` for something that it may."""
        deadline = time.monotonic() + wait_seconds
        with self._services.hub.waiting(TOPIC) as hinted:
            while True:
                hinted.clear()
                if self._services.stopping:
                    return None
                order = await self._take(asker, base_url)
                remaining = deadline - time.monotonic()
                if order is not None or remaining <= 0:
                    return order
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(remaining, LOOK_SECONDS)):
                        await hinted.wait()

    async def report(self, lease: UUID, body: PrebuildReport) -> PrebuildReported:
        """Note how far a pre-build is, or how it ended. Raises `LeaseNotFound`."""
        whose = {"lease": lease, "worker": body.worker_id, "instance": body.instance}
        if body.result == "building":
            # A renewal that a power cut forgets only makes the lease expire sooner.
            async with self._services.db.system(durable=False) as transaction:
                renewed = await queries.renew(
                    transaction, **whose, seconds=LEASE_SECONDS, step=body.step, message=body.message
                )
            if renewed is None:
                raise _gone()
            return PrebuildReported(expires_at=renewed)
        async with self._services.db.system() as transaction:
            held = await queries.hold(transaction, **whose)
            if held is None:
                raise _gone()
            await self._end(transaction, lease, held, body)
        if body.built is not None and not body.built.succeeded:
            self._services.hub.publish(ELIGIBILITY)
        self._services.hub.publish(TOPIC)
        return PrebuildReported()

    async def _end(self, transaction: Transaction, lease: UUID, held: HeldPrebuild, body: PrebuildReport) -> None:
        built = body.built
        if built is not None:
            await builds.note(transaction, held.version_id, body.worker_id, built)
        message = body.message or (None if body.error is None else body.error.message)
        await queries.end(
            transaction,
            lease,
            {
                **_decided(held, body),
                "step": body.step or (None if built is None else built.step),
                "pack": None if built is None else built.pack,
                "message": message,
                "log": "" if built is None or body.result == "ready" else built.log,
            },
        )

    async def _take(self, asker: PrebuildAsker, base_url: str) -> PrebuildOrder | None:
        for one in await self._fitting(asker):
            lease = new_id()
            async with self._services.db.system() as transaction:
                expires_at = await queries.claim(
                    transaction,
                    version=one.version_id,
                    worker=asker.worker_id,
                    instance=asker.instance,
                    lease=lease,
                    seconds=LEASE_SECONDS,
                )
            self._read_at = float("-inf")
            if expires_at is None:
                continue
            payload = remembered_version(one.version_id)
            if payload is None:
                async with self._services.db.system(durable=False) as transaction:
                    payload = await version_payload(transaction, one.version_id)
            models, cached = await self._leased.models(payload, asker.engine, base_url)
            return PrebuildOrder(
                id=lease,
                expires_at=expires_at,
                report_seconds=REPORT_SECONDS,
                version=LeasedVersion(
                    id=one.version_id,
                    number=payload.number,
                    fingerprint=payload.fingerprint,
                    build=await builds.order(self._services, one.version_id, asker.engine),
                    # JSON text that was never parsed: it is passed on as it is.
                    prompt=cast(dict[str, Any], payload.workflow_json),
                    interface=payload.interface,
                    manifest={
                        "environment": payload.environment,
                        "custom_nodes": payload.custom_nodes,
                        "models": payload.models,
                    },
                ),
                models=models,
                cached=cached,
            )
        return None

    async def _fitting(self, asker: PrebuildAsker) -> list[OpenPrebuild]:
        """Return those that the worker may take, of some that have not been compared with it a moment ago."""
        now = time.monotonic()
        waiting = [
            one for one in await self._open_ones(now) if self._unable.get((asker.worker_id, one.version_id), 0.0) < now
        ][:MOST_COMPARED]
        if not waiting:
            return []
        machine = next((one for one in await self._known.machines() if one.worker.id == asker.worker_id), None)
        if machine is None or not machine.worker.takes_runs:
            return []
        found = []
        for one in waiting:
            (fit,) = await runtime.fits(
                self._services,
                [machine],
                one.version_id,
                await self._known.version(one.version_id),
                labels=one.worker_labels,
                org_id=one.org_id,
                gpu_class=",".join(one.gpu_explicit_models) if one.gpu_mode == GpuMode.EXPLICIT else ANY_GPU,
            )
            if fit.is_able:
                found.append(one)
            else:
                self._note_unable(asker.worker_id, one.version_id, now)
        return found

    def _note_unable(self, worker_id: UUID, version_id: UUID, now: float) -> None:
        if len(self._unable) >= MOST_REMEMBERED:
            self._unable.clear()
        self._unable[worker_id, version_id] = now + UNABLE_SECONDS

    async def _open_ones(self, now: float) -> Sequence[OpenPrebuild]:
        """Return the pre-builds that may be begun, in turn, as of a second ago."""
        if self._read_at < now - READ_SECONDS:
            async with self._reading:
                # Many workers ask at once, and one of them reads.
                if self._read_at < now - READ_SECONDS:
                    self._read_at = time.monotonic()
                    async with self._services.db.system(durable=False) as transaction:
                        self._open = await queries.open_ones(transaction, most=MOST_OPEN, most_tries=MOST_TRIES)
        return self._open


def _decided(held: HeldPrebuild, body: PrebuildReport) -> dict[str, Any]:
    """Return what the end of a worker's try means for a pre-build: its state, and when it is due again."""
    if body.result == "ready":
        return {"state": "ready", "pause": 0.0, "untried": 0}
    if body.result == "released":
        return {"state": "queued", "pause": RELEASED_SECONDS, "untried": 1}
    if body.built is not None and body.built.waits_for is not None:
        return {"state": "queued", "pause": RELEASED_SECONDS, "untried": 1}
    if body.error is not None and body.error.retryable and held.tries < MOST_TRIES:
        return {"state": "queued", "pause": PAUSE_SECONDS * held.tries, "untried": 0}
    return {"state": "failed", "pause": 0.0, "untried": 0}


def _gone() -> errors.LeaseNotFound:
    return errors.LeaseNotFound("You hold no such pre-build: its lease has ended, or its workflow was deleted.")
