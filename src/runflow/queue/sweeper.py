"""Takes back what nobody holds any more: lapsed offers, expired leases, objects of attempts that came to nothing."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog

from runflow.billing.settlement import meter
from runflow.db.set_aside import RETENTION_SECONDS, SetAside
from runflow.db.transaction import CONNECTION_TROUBLE, Fetched, NoConnection, Transaction
from runflow.ids import smallest_id
from runflow.protocol.failures import TERMINAL, Failure
from runflow.queue import completion_queries, leases, queries, sweep_queries
from runflow.queue.attempt_files import output_prefix
from runflow.queue.backlog import TOPIC
from runflow.queue.caps import announce_room
from runflow.queue.completion import (
    Transition,
    announce,
    as_told,
    attempt_end,
    ending_of,
    never_answered,
    retry_or_fail,
    worker_lost,
    worker_replaced,
)
from runflow.queue.ending import run_ended, something_follows
from runflow.queue.grace import Grace
from runflow.queue.leases import OPEN, number_of
from runflow.queue.rows import HeldRun, OpenLease, RunWithLeftovers, UnansweredOffers
from runflow.web.services import Services

log = structlog.get_logger()

SWEEP_SECONDS = 1.0
STILL_SECONDS = 30.0
"""A sweeper that got through no round for so long stands still (readiness says so)."""
OFFERS_PER_ATTEMPT = 5
"""So many unanswered offers of a run count as an attempt that was lost. One outage of the network costs a run no more:
polls from before it end within half a minute, which is as long as five offers last."""
OBJECTS_AFTER_SECONDS = 3700.0
"""Objects of a failed attempt are removed once no signed upload URL for them can be valid any more."""
JUST_ENDED_SECONDS = 60.0
"""Runs that ended since the database came back may have been claimed before it went: it is away for less."""
DOUBTED_AT_ONCE = 1000


class Sweeper:
    """Runs beside the server, on every process; row locks keep two of them from doing the same thing."""

    def __init__(self, services: Services, grace: Grace | None = None) -> None:
        """Prepare; `run` does the work."""
        self._services = services
        self._grace = grace or Grace()
        self._doubted_at = 0
        self._leases = SetAside("lease")
        self._runs = SetAside("run with leftovers", first_seconds=RETENTION_SECONDS)
        self._attempts = SetAside("outputs of an attempt", first_seconds=RETENTION_SECONDS)

    async def run(self) -> None:
        """Sweep every second until cancelled. Trouble is logged and tried again."""
        rounds = 0
        beat = self._services.background.watch("sweeper", STILL_SECONDS)
        while True:
            try:
                await self.doubt_after_a_crash(beat)
                await self.round()
                if rounds % 15 == 0:
                    await self._services.authenticator.note_use()
                beat()
            except Exception as error:
                log.warning(
                    "sweep failed, trying again", error=str(error).splitlines()[0] if str(error) else repr(error)
                )
            rounds += 1
            await asyncio.sleep(SWEEP_SECONDS)

    async def doubt_after_a_crash(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Where the database was away, let the runs of that time be looked through for files of forgotten attempts.

        With very many unfinished runs it takes its time: `on_progress` is called after each thousand.
        """
        connections = self._services.hub.connections
        if connections == self._doubted_at:
            return
        first_id = smallest_id(datetime.now(UTC))
        async with self._services.db.system() as transaction:
            await sweep_queries.doubt_just_ended(transaction, JUST_ENDED_SECONDS)
        more = DOUBTED_AT_ONCE
        while more >= DOUBTED_AT_ONCE:
            async with self._services.db.system() as transaction:
                more = await sweep_queries.doubt_unfinished(transaction, DOUBTED_AT_ONCE)
            if more:
                # Claims have passed over what this had locked, and nobody else would tell them that it still waits.
                self._services.hub.publish(TOPIC)
            on_progress()
        async with self._services.db.system() as transaction:
            # What somebody has locked at this moment is left for the next round.
            if not await sweep_queries.is_undoubted(transaction, first_id):
                self._doubted_at = connections

    async def round(self) -> None:
        """Take back what has run out, unless nobody could renew it for a while (`grace.py`)."""
        times = (("offered", leases.OFFER_SECONDS), ("live", self._services.settings.lease_seconds))
        for state, seconds in times:
            found = await self._expired(state)
            self._grace.look()
            if self._grace.is_over(seconds):
                for lease in found:
                    await self._leases.attempt(lease.lease, self._end(lease, expired_only=True))
                    self._grace.look()

    async def sweep_offers(self) -> int:
        """Give runs of lapsed offers back to their lanes; return how many."""
        return await self._take_back("offered")

    async def sweep_leases(self) -> int:
        """End expired leases: their runs wait again or fail as `WORKER_LOST`; return how many."""
        return await self._take_back("live")

    async def end_older_lives(self, worker_id: UUID, instance: UUID) -> int:
        """End the leases of a worker's earlier processes at once; return how many."""
        async with self._services.db.system() as transaction:
            older = await sweep_queries.of_older_lives(transaction, worker=worker_id, instance=instance)
        for lease in older:
            # What fails here expires, and is then the sweep's. A worker whose every lease fails registers all the same.
            try:
                await self._leases.attempt(lease.lease, self._end(lease, expired_only=False))
            except (*CONNECTION_TROUBLE, NoConnection):
                raise
            except Exception:
                break
        return len(older)

    async def sweep_objects(self) -> int:
        """Remove stored objects of attempts that are not their run's result; return how many attempts."""
        async with self._services.db.system() as transaction:
            attempts = await sweep_queries.unswept(transaction, OBJECTS_AFTER_SECONDS, aside=self._attempts.ids)
        swept = [
            attempt.id
            for attempt in attempts
            if await self._attempts.attempt(attempt.id, self._remove(output_prefix(attempt.run_id, attempt.id)))
        ]
        async with self._services.db.system() as transaction:
            await sweep_queries.mark_swept(transaction, swept)
        return len(swept)

    async def sweep_leftovers(self) -> int:
        """Remove what offers had stored that were forgotten; return of how many ended runs.

        A run's result and its other attempts stay: the attempts are known, and `sweep_objects` is for those.
        """
        async with self._services.db.system() as transaction:
            runs = await sweep_queries.with_leftovers(transaction, OBJECTS_AFTER_SECONDS, aside=self._runs.ids)
        swept = [run.id for run in runs if await self._runs.attempt(run.id, self._remove_leftovers(run))]
        async with self._services.db.system() as transaction:
            await sweep_queries.no_leftovers(transaction, swept)
        return len(swept)

    async def _remove_leftovers(self, run: RunWithLeftovers) -> None:
        known = tuple(output_prefix(run.id, attempt) for attempt in run.attempts)
        found = self._services.storage.list(f"runs/{run.id}/")
        await self._services.storage.delete([key async for key in found if not key.startswith(known)])

    async def _remove(self, prefix: str) -> None:
        await self._services.storage.delete([key async for key in self._services.storage.list(prefix)])

    async def _take_back(self, state: str) -> int:
        found = await self._expired(state)
        return sum([await self._leases.attempt(lease.lease, self._end(lease, expired_only=True)) for lease in found])

    async def _expired(self, state: str) -> list[OpenLease]:
        async with self._services.db.system() as transaction:
            found = await sweep_queries.expired(transaction, [state], aside=self._leases.ids)
        return await found.fetchall()

    async def _end(self, lease: OpenLease, *, expired_only: bool) -> None:
        async with self._services.db.system() as transaction:
            # A completion may take its time, and hold its row: the leases behind it do not wait. The next round looks.
            held = await queries.held(
                transaction,
                lease=lease.lease,
                worker=lease.worker,
                instance=lease.instance,
                token=None,
                waits=not expired_only,
            )
            if held is None or held.lease_status not in OPEN:
                return
            if expired_only and not await sweep_queries.is_expired(transaction, lease.lease):
                return
            unanswered = None
            if held.run_status in TERMINAL:
                # Its worker is gone and reports no more: the attempt ends with usage of nothing.
                transition = Transition("cancelled", held.run_status, billable=False)
                await completion_queries.finish(transaction, attempt_end(held, transition, number_of(held)))
                await meter(transaction, held, number_of(held), held.run_status)
            elif held.lease_status == "offered":
                transition = await self._lapse(transaction, held, lease.worker)
                # Only one that polls on without answering: a new life of its process is a new beginning.
                if expired_only:
                    unanswered = await sweep_queries.note_unanswered(transaction, lease.worker, held.offered_at)
            else:
                name = await sweep_queries.worker_name(transaction, lease.worker)
                lost = worker_lost(name) if expired_only else worker_replaced(name)
                transition = await self._lose(transaction, held, lost)
        if held.run_status in TERMINAL:
            announce_room(self._services, held)
            return
        if unanswered is not None:
            await _tell_of_pause(unanswered)
        log.warning(
            "lease lost",
            lease_id=str(held.lease_id),
            run_id=str(held.run_id),
            worker_id=str(lease.worker),
            why="it was not renewed" if expired_only else "another process registered under the worker's name",
            run=transition.run_status,
        )
        announce(self._services, held, transition.run_status, with_delivery=something_follows(self._services, held))

    async def _lapse(self, transaction: Transaction, held: HeldRun, worker: UUID) -> Transition:
        """Forget an offer that nobody took up; every `OFFERS_PER_ATTEMPT`-th of a run is an attempt that was lost."""
        await sweep_queries.note_lapse(transaction, held.run_id)
        lapsed = held.lapsed_offers + 1
        if lapsed % OFFERS_PER_ATTEMPT == 0:
            name = await sweep_queries.worker_name(transaction, worker)
            return await self._lose(transaction, held, never_answered(name, lapsed))
        await queries.return_offer(
            transaction, lease=held.lease_id, run=held.run_id, lane=held.lane_id, created_at=held.created_at
        )
        return Transition("lapsed", "queued", billable=False)

    async def _lose(self, transaction: Transaction, held: HeldRun, failure: Failure) -> Transition:
        """End an attempt that its worker no longer answers for: its run waits again, or fails."""
        transition = await as_told(transaction, held, retry_or_fail(held, failure))
        number = number_of(held)
        ended = await completion_queries.finish(transaction, attempt_end(held, transition, number))
        if transition.run_status == "queued":
            await queries.back_in_lane(transaction, org=held.org_id, run=held.run_id, number=number)
        await meter(transaction, held, number, transition.run_status)
        if transition.run_status in TERMINAL and something_follows(self._services, held):
            await run_ended(self._services, transaction, await ending_of(held, transition, ended, []))
        return transition


async def _tell_of_pause(unanswered: Fetched[UnansweredOffers]) -> None:
    worker = await unanswered.fetchone()
    if worker is not None and worker.paused_until is not None:
        log.warning(
            "a worker does not answer its offers and gets none for a while: look at its log",
            worker=worker.name,
            unanswered_offers=worker.unanswered_offers,
            paused_until=worker.paused_until.isoformat(),
        )
