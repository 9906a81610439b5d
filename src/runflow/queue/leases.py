"""Leases: a worker's exclusive, expiring right to one attempt of one run."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.db.database import Database
from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.protocol.events import Event
from runflow.protocol.failures import TERMINAL
from runflow.protocol.leases import Heartbeat, HeartbeatAnswer
from runflow.queue import lane_queries, queries
from runflow.queue.board import LOOK_AGAIN_SECONDS, Board
from runflow.queue.choose import Choice, WorkerOffer, choose
from runflow.queue.eligibility import AT_ONCE, EligibleLanes
from runflow.queue.lane_queries import Standing
from runflow.queue.lineup import Lane, serves
from runflow.queue.rows import HeldRun, OfferedRun
from runflow.web.services import Services

OFFER_SECONDS = 5.0
"""An offered lease that is not taken up for this long lapses (docs/leases.md, "The token")."""

OPEN = frozenset({"offered", "live"})


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run under a fresh, offered lease."""

    lease_id: UUID
    run_id: UUID
    org_id: UUID
    version_id: UUID
    attempt_number: int
    input: dict[str, Any]
    timeout_seconds: int
    expires_at: datetime
    lane_id: UUID
    models_key: str | None
    """The key of its version's large models; None where nobody has looked yet."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A worker that asks for work, with the lanes that it may serve; `idle`: it has nothing to execute.

    `without`: domains, which are organizations' ids, of which it takes no run at the moment.

    Where it is not `is_current` any more, for it has registered anew elsewhere, it gets nothing and has to ask again.
    """

    worker_id: UUID
    instance: UUID
    offer: WorkerOffer
    lanes: EligibleLanes
    idle: bool = True
    is_current: Callable[[], bool] = lambda: True
    without: frozenset[str] = frozenset()


class _Poll:
    """What a worker's wait has shown so far; `kept`: that some runs, or all, are kept from it."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


async def claim_now(services: Services, board: Board, asker: Asker) -> Claimed | None:
    """Return the next run for this worker if one waits; without a look where this process knows of none."""
    if services.stopping or not board.backlog.may_wait or not asker.is_current():
        return None
    board.asks(asker.worker_id, asker.offer, idle=asker.idle)
    return await _claim(services, board, asker, _Poll())


async def next_claim(services: Services, board: Board, asker: Asker, *, wait_seconds: float) -> Claimed | None:
    """Return the next run for this worker, waiting up to `wait_seconds` for one."""
    deadline, poll = time.monotonic() + wait_seconds, _Poll()
    board.asks(asker.worker_id, asker.offer, idle=asker.idle)
    with board.backlog.waiting(asker.worker_id) as work:
        while True:
            work.clear()
            if services.stopping or not asker.is_current():
                return None
            claimed = await _claim(services, board, asker, poll)
            if claimed is not None:
                return claimed
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            # Not wait_for: on Python 3.11 it can swallow the cancellation of a caller that went away.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, LOOK_AGAIN_SECONDS)):
                    await work.wait()


async def _claim(services: Services, board: Board, asker: Asker, poll: _Poll) -> Claimed | None:
    """Take a run from the lane where all that wait are known to be; else from the best one of the board.

    Each is an exchange, and so is what the board has to read first, if anything changed. What it does not know yet
    costs a miss: a claim by itself takes a lane's first run that nobody has, or none. A worker from which runs turn out
    to be kept has hidden one from others meanwhile; from then on it asks first, so that no two wake each other forever.
    """
    lease, offer, backlog = new_id(), asker.offer, board.backlog

    async def take(lane: UUID, *, loads: bool, least: float = 0.0) -> OfferedRun | None:
        hints = backlog.hints
        try:
            async with services.db.system(durable=False) as transaction:
                taken = await queries.claim(
                    transaction,
                    lane=lane,
                    lease=lease,
                    worker=asker.worker_id,
                    instance=asker.instance,
                    gpu_code=offer.gpu_code,
                    memory_gb=offer.memory_gb,
                    offer_seconds=OFFER_SECONDS,
                    loads=loads,
                    most_running=services.settings.max_running,
                    least=least,
                )
            run = await taken.fetchone()
        except BaseException:
            # Others have looked meanwhile and found it taken: nobody else would tell them that it still waits.
            board.doubt(lane)
            backlog.doubt()
            raise
        if run is not None:
            board.claimed(lane, asker.worker_id, lease, offer, run, hints=hints)
        return run

    board.waits(asker.worker_id)
    only = backlog.only
    if (
        only is not None
        and not asker.without
        and serves(only[1], offer.gpu_code)
        and asker.lanes.may_take(*only, board.remembered(only[0]))
        and not board.leaves(only[0], offer)
    ):
        backlog.take_only()
        hints = backlog.hints
        run = await take(only[0], loads=board.loads(only[0], offer))
        if run is not None:
            backlog.looked(hints, run.left)
            return _claimed(lease, only[0], run)
    missed: set[UUID] = set()
    is_asked = not poll.kept
    while True:
        await board.refresh()
        choice = await _choose(board, asker, missed)
        if choice is None:
            board.looked()
            return None
        if not is_asked:
            is_asked = True
            standing = await _standing(services, asker)
            if standing.is_kept_away:
                return None
            poll.kept = bool(standing.refused)
            missed.update(standing.refused)
            continue
        least = board.reserve(choice)
        run = await take(choice.lane.id, loads=choice.loads, least=least)
        if run is not None:
            board.looked()
            return _claimed(lease, choice.lane.id, run)
        board.doubt(choice.lane.id)
        if not missed:
            try:
                standing = await _standing(services, asker)
            except BaseException:
                backlog.doubt()
                raise
            if standing.is_kept_away or choice.lane.id in standing.refused:
                poll.kept = True
                backlog.doubt()
            if standing.is_kept_away:
                board.dismiss(asker.worker_id)
                return None
            missed.update(standing.refused)
        missed.add(choice.lane.id)


async def _standing(services: Services, asker: Asker) -> Standing:
    async with services.db.system(durable=False) as transaction:
        return await lane_queries.standing(transaction, asker.worker_id, asker.instance)


async def _choose(board: Board, asker: Asker, missed: set[UUID]) -> Choice | None:
    """Choose among the lanes of the board that the worker may serve, but for those that were tried in vain."""
    lanes, offer, told = asker.lanes, asker.offer, dict.fromkeys(missed, False)
    await lanes.prepare()
    if lanes.has_none_of(board.lineup):
        return None
    some = False
    while True:
        unknown: dict[UUID, Lane] = {}

        def may(lane: Lane, unknown: dict[UUID, Lane] = unknown) -> bool:
            nonlocal some
            if asker.without and str(lane.org_id) in asker.without:
                some = True  # it is for this worker, though not now
                return False
            known = told.get(lane.id)
            if known is None:
                known = lanes.verdict(lane, board.now)
            if known is None:
                unknown[lane.id] = lane
            some = some or bool(known)
            return bool(known)

        choice = choose(board.lineup, offer.only_where(may), board.holders, board.now)
        if not unknown:
            if choice is None and not some:
                lanes.found_none_of(board.lineup)
            return choice
        batch = list(unknown.values())[:AT_ONCE]
        able = {lane.id for lane in await lanes.among(batch, board.now)}
        told.update((lane.id, lane.id in able) for lane in batch)


def _claimed(lease: UUID, lane: UUID, run: OfferedRun) -> Claimed:
    return Claimed(
        lease_id=lease,
        run_id=run.id,
        org_id=run.org_id,
        version_id=run.version_id,
        attempt_number=run.attempt_count + 1,
        input=run.input,
        timeout_seconds=run.timeout_seconds,
        expires_at=run.expires_at,
        lane_id=lane,
        models_key=run.models_key,
    )


async def hold(transaction: Transaction, *, lease: UUID, worker: UUID, instance: UUID, token: UUID) -> HeldRun:
    """Lock a lease and its run.

    Raises `LeaseNotFound` when this worker never had it (or its offer lapsed), or is another token's.
    """
    held = await queries.held(transaction, lease=lease, worker=worker, instance=instance, token=token)
    if held is None:
        raise errors.LeaseNotFound
    return held


def number_of(held: HeldRun) -> int:
    """Return the attempt's number; an offer gets the next one."""
    return held.number or held.attempt_count + 1


class OutputUploads:
    """Says of signed upload URLs of outputs whether they still hold: as long as the lease does."""

    def __init__(self, db: Database) -> None:
        """Ask this database."""
        self._db = db

    async def check(self, key: str) -> None:
        """Raise `UrlExpired` where no lease takes outputs under this key any more."""
        try:
            _, run, lease = (part for part in key.split("/", 3)[:3])
            ids = {"run": UUID(run), "lease": UUID(lease)}
        except ValueError:
            raise errors.UrlExpired from None
        async with self._db.system(durable=False) as transaction:
            if not await queries.takes_outputs(transaction, **ids):
                raise errors.UrlExpired(
                    "The lease that this URL belongs to is over, or its run has ended: nothing more is stored for it."
                )


async def heartbeat(services: Services, lease: UUID, beat: Heartbeat, token: UUID) -> HeartbeatAnswer:
    """Renew a lease and keep its events. Raises `LeaseLost` when it is over."""
    running = any(event.type == "status" for event in beat.events)
    progress = latest_progress(beat.events)
    # A relaxed commit: a renewal that a power cut forgets only makes the lease expire sooner.
    async with services.db.system(durable=False) as transaction:
        held = await hold(transaction, lease=lease, worker=beat.worker_id, instance=beat.instance, token=token)
        if held.lease_status not in OPEN:
            raise errors.LeaseLost
        number = number_of(held)
        if beat.events:
            await store_events(transaction, held, number, beat.events)
        renewed = await queries.renew(
            transaction,
            lease=lease,
            number=number,
            lease_seconds=services.settings.lease_seconds,
            running=running,
            nodes_completed=progress.get("nodes_completed"),
            nodes_total=progress.get("nodes_total"),
            has_logs=any(event.type == "log" for event in beat.events),
        )
        if beat.preview is not None:
            await queries.show(transaction, held.run_id, beat.preview)
        is_watched = await queries.is_watched(transaction, held.run_id)
    if beat.preview is not None or beat.events or held.number is None:
        services.hub.publish("run-events", str(held.run_id))
    (row,) = await renewed.fetchall()
    return HeartbeatAnswer(expires_at=row.expires_at, cancel=held.run_status in TERMINAL, preview=is_watched)


def latest_progress(events: list[Event]) -> dict[str, int]:
    """Return the newest node counts that these events carry."""
    for event in reversed(events):
        if event.type == "progress":
            counts = {name: event.data.get(name) for name in ("nodes_completed", "nodes_total")}
            return {name: count for name, count in counts.items() if isinstance(count, int) and 0 <= count < 10**6}
    return {}


async def store_events(transaction: Transaction, held: HeldRun, number: int, events: list[Event]) -> None:
    """Keep a worker's events under the run; a number that was kept before is ignored."""
    await queries.add_events(
        transaction,
        org=held.org_id,
        run=held.run_id,
        lease=held.lease_id,
        number=number,
        events=[
            {
                "number": event.number,
                "type": event.type,
                "at": event.at,
                "id": new_id() if event.type == "log" else None,
                "data": _storable(event),
            }
            for event in events
        ],
    )


LOG_LEVELS = frozenset({"debug", "info", "warning", "error"})
_NUL = rb"\u0000"


def _storable(event: Event) -> dict[str, Any]:
    """What PostgreSQL can search: no NUL, and of log lines a level that is one, and a text."""
    # As JSON every NUL is spelled like this, so one search tells whether there is anything to take out.
    data: dict[str, Any] = _without_nul(event.data) if _NUL in orjson.dumps(event.data) else event.data
    if event.type != "log":
        return data
    level = data.get("level_code")
    known = level if isinstance(level, str) and level in LOG_LEVELS else "info"
    return {**data, "level_code": known, "message": str(data.get("message", ""))}


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value
