"""The lanes that wait, kept in the orders in which `choose` looks at them, so that a choice need not sort them anew.

A change costs a search in a sorted list, a choice looks at a few lanes, whatever their number. Times are seconds of one
clock, which is the caller's: the server's own, or a simulation's.
"""

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

ANY_GPU = "auto"

SECONDS_PER_PRIORITY = 60.0
"""A lane that waited this long counts as one priority step higher."""

MOST_SAVED_SECONDS = 600.0
"""An organization that could not be served while others were has saved up no more engine time than this."""

MOST_ENTERED = 1_000
"""So many lanes that were put in last are remembered in their order."""


def needs_of(fingerprint: str, models: str) -> str:
    """Return what an engine must be: its runtime's fingerprint and the key of its large models (empty: none)."""
    return f"{fingerprint}/{models}"


def key_of(whose: UUID | None, needs: str) -> str:
    """Return the warm key: whose runs an engine executes (None: anybody's), and what it must be."""
    return f"{'*' if whose is None else whose}/{needs}"


@dataclass(slots=True, eq=False)
class Lane:
    """A lane with waiting runs."""

    id: UUID
    org_id: UUID
    gpu_class: str
    """`auto`, or GPU codes in order of preference, e.g. `L40S,A100`."""
    fingerprint: str
    models: str = ""
    """The key of the large models that its version declares; empty where it has none."""
    priority: int = 0
    oldest_at: float = 0.0
    """When its oldest run came."""
    waits_since: float = 0.0
    """The same, or when a run of it was claimed last, if that was later."""
    depth: int = 1
    """How many runs wait in it."""
    expected_seconds: float = 1.0
    """What a run of it takes on an engine that is warm for it."""
    load_seconds: float = 0.0
    """What it takes an engine that is not warm for it to become so."""
    least_gb: int = 0
    """GiB that a GPU must have for its runs."""
    needs: str = field(init=False)
    keys: tuple[str, str] = field(init=False)
    """The warm keys that serve it: of an engine of its organization's, and of one that serves anybody."""
    left_until: float = 0.0
    """Until when it is believed to be left to a worker that holds its models, without asking again."""
    counted: float = 0.0
    """What the lineup has counted for it, in seconds of execution."""

    def __post_init__(self) -> None:
        """Spell the keys once."""
        self.needs = needs_of(self.fingerprint, self.models)
        self.keys = (key_of(self.org_id, self.needs), key_of(None, self.needs))

    @property
    def urgency(self) -> float:
        """Where it stands among its organization's lanes, smallest first: age and priority in one number."""
        return self.waits_since - self.priority * SECONDS_PER_PRIORITY


Place = tuple[float, int, Lane]
"""A lane in its order: urgency, then id, so that the order is total."""


@dataclass(slots=True, eq=False)
class Tenant:
    """The lanes of one organization and GPU class."""

    org_id: UUID
    virtual_time: float
    lanes: list[Place] = field(default_factory=list)
    warm: dict[str, list[Place]] = field(default_factory=dict)
    """The same lanes by what they need."""
    place: "Rank" = (0.0, 0, 0.0, 0)

    def rank(self) -> "Rank":
        """Where it stands among the organizations: engine time, then its id, its most urgent lane, and that one's id.

        Urgency counts within an organization only, which may have lanes of several GPU classes: no two ranks are the
        same.
        """
        urgency, lane, _ = self.lanes[0]
        return (self.virtual_time, self.org_id.int, urgency, lane)


Rank = tuple[float, int, float, int]
"""Where lanes stand among those of other organizations."""


class Pool:
    """The lanes of one GPU class."""

    def __init__(self) -> None:
        """Begin without lanes."""
        self.tenants: dict[UUID, Tenant] = {}
        self.order: list[tuple[float, int, float, int, Tenant]] = []
        self.by_models: dict[str, dict[UUID, Tenant]] = {}

    def add(self, lane: Lane, place: Place, virtual_time: float) -> None:
        """Put a lane in its places."""
        tenant = self.tenants.get(lane.org_id)
        if tenant is None:
            tenant = self.tenants[lane.org_id] = Tenant(lane.org_id, virtual_time)
        else:
            self._out(tenant)
        insort(tenant.lanes, place)
        alike = tenant.warm.get(lane.needs)
        if alike is None:
            tenant.warm[lane.needs] = [place]
            self.by_models.setdefault(lane.needs, {})[lane.org_id] = tenant
        else:
            insort(alike, place)
        self._in(tenant)

    def discard(self, lane: Lane, place: Place) -> None:
        """Take a lane out of its places."""
        tenant = self.tenants[lane.org_id]
        self._out(tenant)
        del tenant.lanes[bisect_left(tenant.lanes, place)]
        alike = tenant.warm[lane.needs]
        del alike[bisect_left(alike, place)]
        if not alike:
            del tenant.warm[lane.needs]
            sharing = self.by_models[lane.needs]
            del sharing[lane.org_id]
            if not sharing:
                del self.by_models[lane.needs]
        if tenant.lanes:
            self._in(tenant)
        else:
            del self.tenants[lane.org_id]

    def move(self, lane: Lane, place: Place, virtual_time: float) -> Place:
        """Put a lane whose urgency has changed in its new places, and its organization's, too; return the lane's."""
        tenant = self.tenants[lane.org_id]
        self._out(tenant)
        moved = (lane.urgency, lane.id.int, lane)
        for order in (tenant.lanes, tenant.warm[lane.needs]):
            if len(order) > 1:
                del order[bisect_left(order, place)]
                insort(order, moved)
            else:
                order[0] = moved
        tenant.virtual_time = virtual_time
        self._in(tenant)
        return moved

    def charge(self, org_id: UUID, virtual_time: float) -> None:
        """Note what engine time an organization has had."""
        tenant = self.tenants.get(org_id)
        if tenant is not None and tenant.virtual_time != virtual_time:
            self._out(tenant)
            tenant.virtual_time = virtual_time
            self._in(tenant)

    def _in(self, tenant: Tenant) -> None:
        tenant.place = tenant.rank()
        insort(self.order, (*tenant.place, tenant))

    def _out(self, tenant: Tenant) -> None:
        del self.order[bisect_left(self.order, tenant.place)]


class Lineup:
    """The lanes that wait, as one process knows them."""

    def __init__(self) -> None:
        """Begin without lanes."""
        self._pools: dict[str, Pool] = {}
        self._places: dict[UUID, Place] = {}
        self._virtual_times: dict[UUID, float] = {}
        self._work: dict[str, float] = {}
        self._entered: deque[Lane] = deque(maxlen=MOST_ENTERED)
        self.serial = 0
        """How often a lane was put in: to be noted before a look, and given to `since` after it."""

    def __len__(self) -> int:
        """Return how many lanes wait."""
        return len(self._places)

    def __iter__(self) -> Iterator[Lane]:
        """Yield the lanes, in no order."""
        return (place[2] for place in self._places.values())

    def get(self, lane_id: UUID) -> Lane | None:
        """Return a lane, None where no run of it waits."""
        place = self._places.get(lane_id)
        return None if place is None else place[2]

    def put(self, lane: Lane, virtual_time: float) -> None:
        """Add a lane, or put it in the place of what was known of it, with its organization's engine time."""
        self.remove(lane.id)
        self.charge(lane.org_id, virtual_time)
        pool = self._pools.get(lane.gpu_class)
        if pool is None:
            pool = self._pools[lane.gpu_class] = Pool()
        place = self._places[lane.id] = (lane.urgency, lane.id.int, lane)
        pool.add(lane, place, virtual_time)
        self._count(lane, lane.depth)
        self._entered.append(lane)
        self.serial += 1

    def since(self, serial: int) -> list[Lane] | None:
        """Return the lanes that were put in since then; None where they are too many to be remembered."""
        count = self.serial - serial
        return None if count > len(self._entered) else list(islice(reversed(self._entered), count))

    def deepen(self, lane: Lane, depth: int) -> None:
        """Note how many runs wait in a lane that is known."""
        lane.depth = depth
        self._count(lane, depth)

    def _count(self, lane: Lane, depth: int) -> None:
        lane.left_until = 0.0
        seconds = depth * lane.expected_seconds
        for key in lane.keys:
            self._work[key] = self._work.get(key, 0.0) + seconds - lane.counted
        lane.counted = seconds

    def work(self, key: str) -> float:
        """Return how many seconds of execution wait for engines with this warm key."""
        return self._work.get(key, 0.0)

    def remove(self, lane_id: UUID) -> None:
        """Forget a lane; nothing happens where it does not wait."""
        place = self._places.pop(lane_id, None)
        if place is not None:
            lane = place[2]
            self._count(lane, 0)
            for key in lane.keys:
                if self._work[key] < 1e-6:
                    del self._work[key]
            pool = self._pools[lane.gpu_class]
            pool.discard(lane, place)
            if not pool.order:
                del self._pools[lane.gpu_class]

    def claimed(self, lane: Lane, *, left: int, now: float, virtual_time: float) -> None:
        """Note that a run of this lane was claimed, after which `left` wait, and what its organization has had now."""
        if left <= 0:
            self.remove(lane.id)
            self.charge(lane.org_id, virtual_time)
            return
        self.deepen(lane, left)
        place = self._places[lane.id]
        pool = self._pools[lane.gpu_class]
        lane.waits_since = now
        self._places[lane.id] = pool.move(lane, place, virtual_time)
        self._virtual_times[lane.org_id] = virtual_time
        if len(self._pools) > 1:
            self.charge(lane.org_id, virtual_time)

    def waits(self, org_id: UUID) -> bool:
        """Tell whether runs of an organization wait."""
        return any(org_id in pool.tenants for pool in self._pools.values())

    def level(self) -> float:
        """Return the least engine time that an organization with waiting runs has had; 0 where nothing waits."""
        return min((pool.order[0][0] for pool in self._pools.values()), default=0.0)

    def least(self, org_id: UUID) -> float:
        """Return what engine time an organization is taken to have had at least, beside others with waiting runs.

        Whoever waits fairly is behind the next one by what that one's last run cost. Who is behind by far more waited
        for a cap, or for a worker that could serve it, and would now keep the others from theirs for as long.
        """
        others = [
            tenant
            for pool in self._pools.values()
            for *_, tenant in islice((entry for entry in pool.order if entry[1] != org_id.int), 1)
        ]
        if not others:
            return 0.0
        first = min(others, key=lambda tenant: tenant.place)
        lane = first.lanes[0][2]
        return first.virtual_time - lane.expected_seconds - lane.load_seconds - MOST_SAVED_SECONDS

    def charge(self, org_id: UUID, virtual_time: float) -> None:
        """Note what engine time an organization has had."""
        self._virtual_times[org_id] = virtual_time
        for pool in self._pools.values():
            pool.charge(org_id, virtual_time)

    def virtual_time(self, org_id: UUID) -> float:
        """Return what engine time an organization has had, as far as it is known."""
        return self._virtual_times.get(org_id, 0.0)

    def pools(self, gpu_code: str) -> list[Pool]:
        """Return the lanes that a worker with this GPU may serve."""
        return [pool for gpu_class, pool in self._pools.items() if serves(gpu_class, gpu_code)]


def serves(gpu_class: str, gpu_code: str) -> bool:
    """Tell whether a worker with this GPU may serve lanes of this GPU class."""
    return gpu_class == ANY_GPU or gpu_code in gpu_class.split(",")


def by_engine_time(pools: Collection[Pool]) -> Iterator[Tenant]:
    """Yield the organizations of these lanes, the one with the least engine time first."""
    orders = [pool.order for pool in pools]
    return (entry[4] for entry in (orders[0] if len(orders) == 1 else heapq.merge(*orders)))
