"""Which lane a worker serves next: a pure decision over the lanes that wait (docs/leases.md, "Choosing").

Organizations share first, within `SLACK_SECONDS` of engine time; then a worker stays with the models that it has
loaded until that has paid, and leaves to others what they have loaded; then age and priority. Nothing starves: what is
kept back is bounded by the slack, the quantum and the time of a load.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self
from uuid import UUID, uuid5

from runflow.queue.holders import Holders
from runflow.queue.lineup import Lane, Lineup, Pool, Rank, Tenant, by_engine_time, key_of, needs_of

SLACK_SECONDS = 15.0
"""So much more engine time than others an organization may have had and still be served first, to save a load."""

LOADS_PER_QUANTUM = 4.0
"""A worker stays with what it has loaded until executing has taken so many times as long as the load."""

MOST_QUANTUM_SECONDS = 600.0


class Warm:
    """What an engine of a worker has loaded."""

    __slots__ = ("executed_seconds", "key", "needs", "weightless", "whose")

    def __init__(self, whose: UUID | None, fingerprint: str, models: str, executed_seconds: float = 0.0) -> None:
        """It executes runs of `whose` organization (None: of any), and has done so for so long since it loaded that."""
        self.whose = whose
        self.needs = needs_of(fingerprint, models)
        self.weightless = needs_of(fingerprint, "")
        self.key = key_of(whose, self.needs)
        self.executed_seconds = executed_seconds


class WorkerOffer:
    """What a worker that asks for work is, and what it holds warm, the one that it used last first."""

    __slots__ = ("gpu_code", "keys", "may", "memory_gb", "warm")

    def __init__(
        self,
        gpu_code: str,
        warm: Sequence[Warm] = (),
        may: Callable[[Lane], bool] = lambda lane: True,
        *,
        memory_gb: int = 0,
    ) -> None:
        """`may` tells whether it can run what waits in a lane. `memory_gb`: of its GPU; 0: none, or not known."""
        self.gpu_code = gpu_code
        self.memory_gb = memory_gb
        self.warm = warm
        self.may = may
        self.keys = frozenset(key for one in warm for key in (one.key, key_of(one.whose, one.weightless)))

    def only_where(self, may: Callable[[Lane], bool]) -> Self:
        """Return the same for those lanes only of which `may` says so."""
        other = copy(self)
        other.may = may
        return other

    def is_warm_for(self, lane: Lane) -> bool:
        """Tell whether a run of this lane has nothing to load there. One without large models displaces none."""
        return not self.keys.isdisjoint(lane.keys)


MOST_LEFT = 64
"""Whoever would leave so many lanes to others leaves the rest, too: all of these are about to be served."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The lane that a worker serves next, and whether it has to load something for it."""

    lane: Lane
    loads: bool


def quantum(load_seconds: float) -> float:
    """Return for how many seconds a worker stays with what took it so long to load."""
    return min(LOADS_PER_QUANTUM * load_seconds, MOST_QUANTUM_SECONDS)


def choose(lineup: Lineup, worker: WorkerOffer, holders: Holders, now: float) -> Choice | None:
    """Return what this worker does next; None where nothing waits for it, or all that waits is left to others."""
    pools = lineup.pools(worker.gpu_code)
    floor = _floor(pools, worker)
    if floor is None:
        return None
    limit = floor + SLACK_SECONDS
    staying, rested = _warm_lanes(pools, worker, limit)
    if staying is not None:
        return Choice(staying, loads=False)
    left, may, keys, leaves = 0, worker.may, worker.keys, holders.leaves
    for tenant in by_engine_time(pools):
        if tenant.virtual_time > limit and rested is not None:
            break
        for _, _, lane in tenant.lanes:
            if not may(lane):
                continue
            if not keys.isdisjoint(lane.keys):
                if tenant.virtual_time > limit or not lane.models:
                    return Choice(lane, loads=False)
            elif not leaves(lane, lineup, now):
                return Choice(lane, loads=True)
            else:
                left += 1
                if left == MOST_LEFT:
                    return None if rested is None else Choice(rested, loads=False)
    return None if rested is None else Choice(rested, loads=False)


def _floor(pools: list[Pool], worker: WorkerOffer) -> float | None:
    """Return the least engine time that an organization has had of which this worker can run something."""
    for tenant in by_engine_time(pools):
        if any(worker.may(lane) for _, _, lane in tenant.lanes):
            return tenant.virtual_time
    return None


def _warm_lanes(pools: list[Pool], worker: WorkerOffer, limit: float) -> tuple[Lane | None, Lane | None]:
    """Return the best lane of what the worker holds and should stay with, and the best of what it need not stay with.

    Only of organizations that have had no more engine time than `limit`.
    """
    staying: tuple[Rank, Lane] | None = None
    rested: tuple[Rank, Lane] | None = None
    for one in worker.warm:
        for needs in {one.needs, one.weightless}:
            for tenant in _sharing(pools, needs, one.whose, limit):
                lane = next((lane for _, _, lane in tenant.warm[needs] if worker.may(lane)), None)
                if lane is None:
                    continue
                rank = ((tenant.virtual_time, tenant.org_id.int, lane.urgency, lane.id.int), lane)
                if one.executed_seconds < quantum(lane.load_seconds):
                    staying = rank if staying is None else min(staying, rank)
                elif lane.models:
                    rested = rank if rested is None else min(rested, rank)
                if one.whose is None:
                    break
    return (None if staying is None else staying[1]), (None if rested is None else rested[1])


FEW = 32
"""So many organizations that need one thing are compared; among more, the first in turn is looked for."""


def _sharing(pools: list[Pool], needs: str, whose: UUID | None, limit: float) -> list[Tenant]:
    """Return organizations with lanes that need this and within `limit`, in turn."""
    found = []
    for pool in pools:
        tenants = pool.by_models.get(needs)
        if not tenants:
            continue
        if whose is not None:
            tenant = tenants.get(whose)
            if tenant is not None and tenant.virtual_time <= limit:
                found.append(tenant)
        elif len(tenants) <= FEW:
            found += [tenant for tenant in tenants.values() if tenant.virtual_time <= limit]
        else:
            for entry in pool.order:
                if entry[0] > limit:
                    break
                if needs in entry[4].warm:
                    found.append(entry[4])
                    break
    return sorted(found, key=lambda tenant: tenant.place)


_NAMESPACE = UUID("6b1e6d0e-7d3f-5c0a-9a53-1f0c2f4f7f10")


def lane_id(org_id: UUID, version_id: UUID, gpu_class: str) -> UUID:
    """Return the id of the lane of (organization, version, GPU class): the same on every process, without a look-up."""
    return uuid5(_NAMESPACE, f"{org_id}/{version_id}/{gpu_class}")
