"""Which workers hold which models warm, and when each will be free: what this process knows of them.

Nobody asks the database for it. A process knows the workers that speak to it; one that it does not know only costs a
load that could have been saved.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from runflow.queue.lineup import Lane, Lineup

MOST_LOADS_WAITED = 10
"""For so many of its loads a lane may be left to workers that hold its models, counted from when it was served last."""
BELIEVED_SECONDS = 0.25
"""For so long it holds that a lane is left to others, unless runs enter it: nobody foresees anything to the moment."""


@dataclass(slots=True, eq=False)
class _Worker:
    keys: tuple[str, ...] = ()
    idle: bool = True
    free_at: float = 0.0
    """When it will be free; of an idle one, since when it is."""


@dataclass(slots=True)
class _Group:
    """The workers that hold one thing, by when they are free."""

    idle: list[tuple[float, int]] = field(default_factory=list)
    busy: list[tuple[float, int]] = field(default_factory=list)


class Holders:
    """What workers hold warm."""

    def __init__(self) -> None:
        """Begin without workers."""
        self._workers: dict[UUID, _Worker] = {}
        self._groups: dict[str, _Group] = {}

    def note(self, worker_id: UUID, keys: Sequence[str], *, idle: bool, free_at: float) -> None:
        """Note what a worker holds, and when it is free: of an idle one, since when it is."""
        worker = self._workers.get(worker_id)
        if worker is None:
            worker = self._workers[worker_id] = _Worker()
        self._move(worker_id, worker, add=False)
        worker.keys, worker.idle, worker.free_at = tuple(keys), idle, free_at
        self._move(worker_id, worker, add=True)

    def forget(self, worker_id: UUID) -> None:
        """Forget a worker that went away."""
        worker = self._workers.pop(worker_id, None)
        if worker is not None:
            self._move(worker_id, worker, add=False)

    def _move(self, worker_id: UUID, worker: _Worker, *, add: bool) -> None:
        entry = (worker.free_at, worker_id.int)
        for key in worker.keys:
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group()
            order = group.idle if worker.idle else group.busy
            if add:
                insort(order, entry)
                continue
            del order[bisect_left(order, entry)]
            if not group.idle and not group.busy:
                del self._groups[key]

    def leaves(self, lane: Lane, lineup: Lineup, now: float) -> bool:
        """Tell whether those who hold a lane's models warm will have done what waits for them sooner than a load takes.

        A worker that should have been free a while ago is expected to need as long again, and so is one that is free
        and has not taken it. So a lane is not left to one that does not come for longer than a load takes.
        """
        if now < lane.left_until:
            return True
        found = self._leaves(lane, lineup, now)
        if found:
            lane.left_until = now + BELIEVED_SECONDS
        return found

    def _leaves(self, lane: Lane, lineup: Lineup, now: float) -> bool:
        groups, most = self._groups, lane.load_seconds
        # Nobody here knows whether who holds the key may serve this lane at all, so it is not left for long.
        if now - lane.waits_since >= max(MOST_LOADS_WAITED * most, BELIEVED_SECONDS):
            return False
        for key in lane.keys:
            group = groups.get(key)
            if group is None:
                continue
            idle, busy = group.idle, group.busy
            most_wait = most - lineup.work(key) / (len(idle) + len(busy))
            if most_wait <= 0:
                continue
            if idle and now - max(lane.waits_since, idle[-1][0]) < most_wait:
                return True
            if busy:
                at = bisect_left(busy, (now, 0))
                if at < len(busy) and busy[at][0] - now < most_wait:
                    return True
                if at and now - busy[at - 1][0] < most_wait:
                    return True
        return False
