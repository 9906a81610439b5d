"""What a server process knows of lanes and workers between two asks: read where hints say that something changed.

Like the hints it carries no truth. A claim takes a lane's first run that nobody has, or none; whoever goes by something
that is not so any more only misses, and looks again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
import structlog

from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.db.transaction import Transaction
from runflow.models.cached import cached_models
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.queue import lane_queries
from runflow.queue.backlog import TOPIC, Backlog
from runflow.queue.caps import Caps, rooms_of
from runflow.queue.choose import Choice, WorkerOffer
from runflow.queue.holders import Holders
from runflow.queue.lane_queries import VersionModels, WaitingLane
from runflow.queue.lineup import ANY_GPU, Lane, Lineup, key_of
from runflow.queue.rows import OfferedRun
from runflow.workflows.runtime.large_models import LargeModels, hashes_without_size, large_models
from runflow.workflows.service import ROOM

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 2.0
"""How often a waiting worker looks without having been told: hints may be lost."""

READ_AGAIN_SECONDS = LOOK_AGAIN_SECONDS * 0.95
READING_SHARE = 0.02
"""Reading all lanes again, for fear of lost hints, takes no more of the time than this, however many there are."""

MOST_READ_AGAIN_SECONDS = 30.0

GONE_SECONDS = 40.0
"""A worker that has been silent for so long, and should be free, is forgotten."""

MOST_REMEMBERED = 20_000

AT_ONCE = 200
"""Of so many lanes it is found out at once which models they need; the next reading goes on with the others."""

MOST_STORED_BYTES = 4 * 1024 * 1024
"""The same for the documents that tell it, in bytes as they are stored, which are several times more in memory."""


class _KnownWorker:
    """What a worker has to do, as far as this process gave it out."""

    __slots__ = ("asked_at", "free_at", "idle", "keys", "open")

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = ()
        self.idle = False
        self.free_at = 0.0
        self.asked_at = 0.0
        self.open: set[UUID] = set()


class Board:
    """The lanes that wait, and the workers that hold models warm, as one server process knows them."""

    def __init__(self, db: Database, hub: Hub, most_running: int | None = None) -> None:
        """Read from `db`, and hear through `hub` what has changed.

        `most_running`: so many runs of an organization may be worked on at a time.
        """
        self.backlog = Backlog(hub)
        self.lineup = Lineup()
        self.holders = Holders()
        self._db = db
        self._hub = hub
        self._most_running = most_running
        self._caps = Caps()
        self._freed: set[UUID] = set()
        self._reading = asyncio.Lock()
        self._doubted: set[UUID] = set()
        self._doubts_all = True
        self._read_at = float("-inf")
        self._read_again = READ_AGAIN_SECONDS
        self._hints = -1
        self._ahead = time.time() - time.monotonic()
        """By how much the database's clock is ahead of ours."""
        self._workers: dict[UUID, _KnownWorker] = {}
        self._remembered: OrderedDict[UUID, Lane] = OrderedDict()
        hub.on(TOPIC, self._told)
        hub.on(ROOM, self._has_room)

    @property
    def now(self) -> float:
        """The time by the database's clock, in seconds."""
        return time.monotonic() + self._ahead

    def _told(self, subject: str) -> None:
        lane = subject.partition(" ")[0]
        if lane:
            self._doubted.add(UUID(lane))
        else:
            self._doubts_all = True

    def _has_room(self, subject: str) -> None:
        """Look again at what waits for a place under a cap, and let others look; where nothing does, do nothing."""
        if not subject:  # after a broken connection: whatever was said meanwhile is not known
            self._doubts_all = True
            self.backlog.doubt()
            return
        cap = UUID(subject)
        self._freed.add(cap)
        lanes = self._caps.under(cap)
        if lanes:
            self._doubted |= lanes
            self.backlog.doubt()

    # ------------------------------------------------------------------------------------------------------- lanes
    async def refresh(self) -> None:
        """Read what may have changed since it was read last; without an exchange where nothing is said to have."""
        async with self._reading:
            began = time.monotonic()
            whole = self._doubts_all or not self._hub.connected or began - self._read_at > self._read_again
            if not whole and not self._doubted:
                return
            lanes, hints = list(self._doubted), self.backlog.hints
            self._doubted.clear()
            self._freed.clear()
            self._doubts_all = False
            try:
                async with self._db.system(durable=False) as transaction:
                    found = await lane_queries.waiting(
                        transaction, None if whole else lanes, most_running=self._most_running
                    )
                rows = await self._with_models(await found.fetchall())
            except BaseException:
                self._doubts_all = True
                raise
            self._apply(rows, {lane.id for lane in self.lineup} | self._caps.lanes if whole else set(lanes))
            self._hints = hints
            # What is read was read before these came, for all that is known.
            for cap in list(self._freed):
                self._has_room(str(cap))
            if whole:
                self._read_at = time.monotonic()
                took = self._read_at - began
                self._read_again = min(max(READ_AGAIN_SECONDS, took / READING_SHARE), MOST_READ_AGAIN_SECONDS)
                self._forget_silent()

    def _apply(self, rows: list[WaitingLane], expected: set[UUID]) -> None:
        if rows:
            self._ahead = rows[0].read_at - time.monotonic()
        for row in rows:
            expected.discard(row.id)
            if not self._caps.note(row.id, rooms_of(row)):
                self.lineup.remove(row.id)
                continue
            known = self.lineup.get(row.id)
            waits_since = max(row.oldest_at, row.claimed_at or 0.0)
            is_other = known is None or (known.waits_since, known.priority) != (waits_since, row.priority)
            needs = (row.models_key or "", row.least_gb)
            if known is None or is_other or (known.models, known.least_gb) != needs:
                lane = _lane(row, waits_since)
                self.lineup.put(lane, row.virtual_time)
                self._remember(lane)
                continue
            known.oldest_at = row.oldest_at
            known.expected_seconds, known.load_seconds = row.expected_seconds, row.load_seconds
            self.lineup.deepen(known, row.depth)
            if self.lineup.virtual_time(row.org_id) != row.virtual_time:
                self.lineup.charge(row.org_id, row.virtual_time)
        for lane_id in expected:
            self.lineup.remove(lane_id)
            self._caps.forget(lane_id)

    def _remember(self, lane: Lane) -> None:
        self._remembered[lane.id] = lane
        self._remembered.move_to_end(lane.id)
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _with_models(self, rows: list[WaitingLane]) -> list[WaitingLane]:
        """Find out, once in the life of a lane, which large models it needs."""
        unknown = [row for row in rows if row.models_key is None]
        if not unknown:
            return rows
        self._doubted.update(row.id for row in unknown[AT_ONCE:])
        try:
            return await self._found_models(rows, unknown[:AT_ONCE])
        except Exception:
            # Which models a lane needs is a stranger's word: what is wrong with one must not keep all lanes from all.
            log.exception("lanes are offered as if they needed no models", lanes=len(unknown[:AT_ONCE]))
            return rows

    async def _found_models(self, rows: list[WaitingLane], unknown: list[WaitingLane]) -> list[WaitingLane]:
        async with self._db.system(durable=False) as transaction:
            by_version = await _models_of(transaction, list({row.version_id for row in unknown}))
            # The bound lets one through in any case: where none was found, all of these versions are gone.
            gone = None if by_version else LargeModels("", 0)
            needs = {row.id: found for row in unknown if (found := by_version.get(row.version_id, gone)) is not None}
            self._doubted.update(row.id for row in unknown if row.id not in needs)
            await lane_queries.note_models(transaction, needs)
        return [row if row.id not in needs else _with_found(row, needs[row.id]) for row in rows]

    def doubt(self, lane_id: UUID) -> None:
        """Read this lane again before the next choice, and those that share a cap with it."""
        self._doubted.add(lane_id)
        self._doubted |= self._caps.beside(lane_id)

    def looked(self) -> None:
        """Tell the backlog what is left after a look at the board."""
        self.backlog.looked(self._hints, len(self.lineup))

    async def keep_models(self, lane_id: UUID, found: LargeModels) -> None:
        """Note which large models a lane needs, which was claimed before anybody had looked."""
        async with self._db.system(durable=False) as transaction:
            await lane_queries.note_models(transaction, {lane_id: found})

    # ------------------------------------------------------------------------------------- a lane that is the only one
    def remembered(self, lane_id: UUID) -> Lane | None:
        """Return what was known last of a lane, whether or not runs wait in it."""
        return self._remembered.get(lane_id)

    def leaves(self, lane_id: UUID, offer: WorkerOffer) -> bool:
        """Tell of a lane that has just got its first run whether it is left to another worker."""
        lane = self._remembered.get(lane_id)
        if lane is None or offer.is_warm_for(lane):
            return False
        if self.lineup.get(lane_id) is None:
            lane.waits_since, lane.left_until = self.now, 0.0
        return self.holders.leaves(lane, self.lineup, self.now)

    def loads(self, lane_id: UUID, offer: WorkerOffer) -> bool:
        """Tell whether the worker has to load something for this lane, as far as is known."""
        lane = self._remembered.get(lane_id)
        return lane is None or not offer.is_warm_for(lane)

    # ------------------------------------------------------------------------------------------------------- claims
    def reserve(self, choice: Choice) -> float:
        """Let nobody else here go for the same run, and count its cost, while a claim is on its way.

        Returns what engine time the organization is taken to have had at least.
        """
        lane = choice.lane
        least = self.lineup.least(lane.org_id)
        cost = lane.expected_seconds + (lane.load_seconds if choice.loads else 0.0)
        virtual_time = max(self.lineup.virtual_time(lane.org_id), least) + cost
        self.lineup.claimed(lane, left=lane.depth - 1, now=self.now, virtual_time=virtual_time)
        for full in self._caps.taken(lane.id):
            self.lineup.remove(full)
        return least

    def claimed(
        self, lane_id: UUID, worker_id: UUID, lease: UUID, offer: WorkerOffer, run: OfferedRun, *, hints: int
    ) -> None:
        """Note that a worker has got a run of a lane. `hints` had come before it asked."""
        self.lineup.charge(run.org_id, run.virtual_time)
        lane = self.lineup.get(lane_id) or self._remembered.get(lane_id)
        if lane is None:
            lane = _claimed_lane(lane_id, run, self.now)
        if run.models_key is not None:
            self._remember(lane)
        if run.left <= 0:
            self.lineup.remove(lane_id)
            if hints == self.backlog.hints:
                self._doubted.discard(lane_id)
        elif self.lineup.get(lane_id) is None or (lane.priority, lane.least_gb) != (run.priority, run.least_gb):
            self._doubted.add(lane_id)
        else:
            self.lineup.deepen(lane, run.left)
        worker = self._workers.setdefault(worker_id, _KnownWorker())
        loads = not offer.is_warm_for(lane)
        begins = self.now if worker.idle else max(self.now, worker.free_at)
        worker.idle = False
        worker.open.add(lease)
        worker.free_at = begins + lane.expected_seconds + (lane.load_seconds if loads else 0.0)
        if loads or not worker.keys:
            shared = any(one.whose is None for one in offer.warm)
            worker.keys = (key_of(None if shared else lane.org_id, lane.needs),)
        self._note(worker_id, worker)

    # ------------------------------------------------------------------------------------------------------ workers
    def asks(self, worker_id: UUID, offer: WorkerOffer, *, idle: bool) -> None:
        """Note how a worker stands that begins to ask for work; `idle` as it says itself."""
        now = self.now
        worker = self._workers.setdefault(worker_id, _KnownWorker())
        keys = tuple(one.key for one in offer.warm)
        worker.asked_at = now
        if idle or worker.free_at < now - GONE_SECONDS:
            worker.open.clear()
        idle = not worker.open
        if idle and not worker.idle:
            worker.free_at = now
        if (worker.idle, worker.keys) != (idle, keys):
            worker.idle, worker.keys = idle, keys
            self._note(worker_id, worker)

    def waits(self, worker_id: UUID) -> None:
        """Note that a worker is still there."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.asked_at = self.now

    def completed(self, worker_id: UUID, lease: UUID) -> None:
        """Note that a worker is done with a run."""
        worker = self._workers.get(worker_id)
        if worker is not None and lease in worker.open:
            worker.open.discard(lease)
            if not worker.open:
                worker.idle, worker.free_at = True, self.now
                self._note(worker_id, worker)

    def dismiss(self, worker_id: UUID) -> None:
        """Leave nothing to a worker that gets nothing."""
        self._workers.pop(worker_id, None)
        self.holders.forget(worker_id)

    def _note(self, worker_id: UUID, worker: _KnownWorker) -> None:
        self.holders.note(worker_id, worker.keys, idle=worker.idle, free_at=worker.free_at)

    def _forget_silent(self) -> None:
        limit = self.now - GONE_SECONDS
        silent = [one for one, known in self._workers.items() if known.asked_at < limit and known.free_at < limit]
        for worker_id in silent:
            self.dismiss(worker_id)


async def _models_of(transaction: Transaction, versions: list[UUID]) -> dict[UUID, LargeModels]:
    read = await lane_queries.models_of(transaction, versions, most_stored=MOST_STORED_BYTES)
    # Large graphs take their time to read; the loop serves others meanwhile.
    is_large = sum(len(row.models or "") + len(row.environment or "") + len(row.prompt or "") for row in read) > _LARGE
    rows = await asyncio.to_thread(_all_parsed, read) if is_large else _all_parsed(read)
    hashes = {one for row in rows for one in hashes_without_size(row.models)}
    hashes |= {file.sha256 for row in rows for file in row.cached if file.size_bytes is None}
    sizes: dict[UUID, dict[str, int]] = {}
    for found in await lane_queries.uploaded_sizes(transaction, sorted(hashes)) if hashes else ():
        sizes.setdefault(found.org_id, {})[found.sha256] = found.size_bytes
    return {row.version_id: large_models(row.models, row.prompt, sizes.get(row.org_id, {}), row.cached) for row in rows}


_LARGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Parsed:
    """The documents of a version that tell which models it loads; `models` and `prompt` in whatever shape they came."""

    version_id: UUID
    org_id: UUID
    models: Any
    prompt: Any
    cached: Sequence[LeasedCachedFile]


def _all_parsed(rows: list[VersionModels]) -> list[_Parsed]:
    return [
        _Parsed(
            row.version_id,
            row.org_id,
            _parsed(row.models),
            _parsed(row.prompt),
            cached_models(_parsed(row.environment)).files,
        )
        for row in rows
    ]


def _parsed(document: str | None) -> Any:
    return None if document is None else orjson.loads(document)


def _lane(row: WaitingLane, waits_since: float) -> Lane:
    return Lane(
        row.id,
        row.org_id,
        row.gpu_class,
        row.fingerprint,
        row.models_key or "",
        priority=row.priority,
        oldest_at=row.oldest_at,
        waits_since=waits_since,
        depth=row.depth,
        expected_seconds=row.expected_seconds,
        load_seconds=row.load_seconds,
        least_gb=row.least_gb,
    )


def _with_found(row: WaitingLane, found: LargeModels) -> WaitingLane:
    least_gb = max(row.least_gb, found.memory_gb) if row.gpu_class == ANY_GPU else row.least_gb
    return replace(row, models_key=found.key, load_seconds=found.load_seconds, least_gb=least_gb)


def _claimed_lane(lane_id: UUID, run: OfferedRun, now: float) -> Lane:
    return Lane(
        lane_id,
        run.org_id,
        run.gpu_class,
        run.fingerprint,
        run.models_key or "",
        oldest_at=now,
        waits_since=now,
        depth=run.left,
        expected_seconds=run.expected_seconds,
        load_seconds=run.load_seconds,
        least_gb=run.least_gb,
    )
