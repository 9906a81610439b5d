"""A fleet in simulated time: workers that ask, lanes that fill, and the queue's own functions in between.

Coarse on purpose: a worker does one run at a time, every change of models costs the same, and an ask costs no time. No
clock of the machine is read, so a result depends on nothing but the workload, the policy and the seed.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from runflow.queue.caps import Caps
from runflow.queue.choose import Choice, Warm, WorkerOffer, choose
from runflow.queue.holders import Holders
from runflow.queue.lineup import ANY_GPU, SECONDS_PER_PRIORITY, Lane, Lineup

LOOK_AGAIN_SECONDS = 2.0
NEVER = float("inf")
_NAMES = UUID("0b5f3f1e-5a55-4d7e-9c57-0d5a1f4f7f10")

Arrival = tuple[float, str, str]
"""When a run comes, whose it is, and which models it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a workload meets. With `shared` an engine serves every organization; else one at a time.

    `may`: whether a worker, by its number, may serve an organization's runs of a model at all; None: each may each.
    `priority`: that of an organization's runs of a model. `most`: how many runs of an organization may be worked on at
    a time; others' any number.
    """

    workers: int
    execute_seconds: float = 4.0
    load_seconds: float = 12.0
    shared: bool = False
    seed: int = 5
    may: Callable[[int, str, str], bool] | None = None
    priority: Callable[[str, str], int] = lambda org, models: 0
    most: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What became of it."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    """By organization, how long each run waited for a worker."""
    loads: int = 0
    longest_unserved: float = 0.0
    """The longest time that a lane waited since its oldest run had come, or since a run of it had been claimed."""
    ended_at: float = 0.0
    most_running: dict[str, int] = field(default_factory=dict)
    """By organization, how many of its runs were worked on at the same time at most."""

    @property
    def runs(self) -> int:
        """How many runs were done."""
        return sum(map(len, self.waits.values()))

    @property
    def loads_per_100(self) -> float:
        """How many loads 100 runs cost."""
        return 100 * self.loads / self.runs

    def wait(self, share: float, whose: str | None = None) -> float:
        """Return the wait that this share of the runs, e.g. 0.99, did not exceed."""
        waits = sorted(self._of(whose))
        return waits[min(len(waits) - 1, int(share * len(waits)))]

    def mean(self, whose: str | None = None) -> float:
        """Return the mean wait."""
        waits = list(self._of(whose))
        return sum(waits) / len(waits)

    def _of(self, whose: str | None) -> Iterator[float]:
        return (wait for org, waits in self.waits.items() for wait in waits if whose in (None, org))


class Policy:
    """How the next lane is chosen, here as the queue does."""

    leaves = True
    """Whether it leaves lanes to workers that hold their models warm."""

    def choose(self, lineup: Lineup, offer: WorkerOffer, holders: Holders, now: float) -> Choice | None:
        """Return what a worker does next."""
        return choose(lineup, offer, holders, now)

    def entered(self, lane: Lane, oldest_at: float) -> None:
        """Hear when the oldest run of a lane came."""

    def cost(self, choice: Choice) -> float:
        """Return what the organization is charged."""
        return choice.lane.expected_seconds + (choice.lane.load_seconds if choice.loads else 0.0)


class FormerPolicy(Policy):
    """What it was before: organizations strictly in turn, then age; models count for nothing, loads cost nobody."""

    leaves = False

    def __init__(self) -> None:
        """Remember when the oldest run of each lane came, which is what this policy went by."""
        self.oldest: dict[UUID, float] = {}

    def entered(self, lane: Lane, oldest_at: float) -> None:
        """Hear when the oldest run of a lane came."""
        self.oldest[lane.id] = oldest_at

    def choose(self, lineup: Lineup, offer: WorkerOffer, holders: Holders, now: float) -> Choice | None:
        """Return the best by the former order: engine time, tenths of urgency, age."""

        def rank(lane: Lane) -> tuple[float, float, float, int]:
            waited = now - self.oldest[lane.id]
            urgency = lane.priority + waited / SECONDS_PER_PRIORITY
            return (lineup.virtual_time(lane.org_id), -round(urgency, 1), -waited, lane.id.int)

        best = min(lineup, key=rank, default=None)
        return None if best is None else Choice(best, loads=False)

    def cost(self, choice: Choice) -> float:
        """Return what the organization is charged."""
        return choice.lane.expected_seconds


@dataclass(slots=True, eq=False)
class _Worker:
    id: UUID
    offer: WorkerOffer
    loaded: str | None = None
    executed: float = 0.0
    busy_for: UUID | None = None


class Simulation:
    """One workload under one policy."""

    def __init__(self, arrivals: Iterable[Arrival], fleet: Fleet, policy: Policy | None = None) -> None:
        """Prepare; `arrivals` are in the order of time."""
        self.fleet = fleet
        self.policy = policy or Policy()
        self.outcome = Outcome()
        self._arrivals = iter(arrivals)
        self._random = random.Random(fleet.seed)
        self._lineup = Lineup()
        self._holders = Holders()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._came: dict[UUID, deque[float]] = {}
        self._running: dict[UUID, int] = {}
        self._caps = Caps()
        self._most = {uuid5(_NAMES, org): most for org, most in fleet.most.items()}
        self._waits: dict[UUID, list[float]] = {}
        self._named: dict[UUID, tuple[str, str]] = {}
        self._workers = [_Worker(uuid5(_NAMES, f"worker {n}"), self._offered(n)) for n in range(fleet.workers)]
        self._idle = dict.fromkeys(range(fleet.workers))
        self._idle_with: dict[str | None, dict[int, None]] = {None: dict.fromkeys(self._idle)}
        self._ends: list[tuple[float, int]] = []

    def _offered(self, number: int, warm: Sequence[Warm] = ()) -> WorkerOffer:
        may = self.fleet.may
        if may is None:
            return WorkerOffer("CPU", warm)
        return WorkerOffer("CPU", warm, lambda lane: may(number, *self._named[lane.id]))

    def run(self, until: float = NEVER) -> Outcome:
        """Let it happen, to the end of the last run, or to a time."""
        arrival = next(self._arrivals, None)
        look_at = now = 0.0
        while now < until and (arrival is not None or self._ends or len(self._lineup)):
            next_end = self._ends[0][0] if self._ends else NEVER
            next_arrival = NEVER if arrival is None else arrival[0]
            now = min(next_end, next_arrival, look_at)
            if arrival is not None and now == next_arrival:
                lane = self._arrive(arrival)
                arrival = next(self._arrivals, None)
                served = not self._idle or lane not in self._lineup or self._offer(lane, now)
            elif now == next_end:
                served = self._finish(heapq.heappop(self._ends)[1], now)
            else:
                look_at = NEVER
                served = self._ask_idle(now)
            if not served and self._lineup and self._idle:
                look_at = min(look_at, now + LOOK_AGAIN_SECONDS)
        self.outcome.ended_at = now
        waiting = max((now - lane.waits_since for lane in self._lineup), default=0.0)
        self.outcome.longest_unserved = max(self.outcome.longest_unserved, waiting)
        return self.outcome

    def engine_time(self) -> dict[str, float]:
        """Return what engine time each organization was charged so far."""
        return {org: self._lineup.virtual_time(uuid5(_NAMES, org)) for org in self.outcome.waits}

    def _arrive(self, arrival: Arrival) -> Lane:
        now, org, models = arrival
        lane = self._lanes.get((org, models))
        if lane is None:
            lane = self._lanes[org, models] = Lane(
                uuid5(_NAMES, f"{org}/{models}"),
                uuid5(_NAMES, org),
                ANY_GPU,
                "runtime",
                models,
                priority=self.fleet.priority(org, models),
                load_seconds=self.fleet.load_seconds,
            )
            self._came[lane.id] = deque()
            self._named[lane.id] = (org, models)
            self._waits[lane.org_id] = self.outcome.waits.setdefault(org, [])
        came = self._came[lane.id]
        came.append(now)
        if len(came) > 1:
            if lane in self._lineup:
                self._lineup.deepen(lane, len(came))
        else:
            self._enter(lane, now)
        return lane

    def _enter(self, lane: Lane, now: float) -> None:
        """Let a lane wait; who had nothing waiting starts level with those who have (`enter_lane` in SQL)."""
        virtual_time = self._lineup.virtual_time(lane.org_id)
        if not self._running.get(lane.org_id) and not self._lineup.waits(lane.org_id):
            virtual_time = max(virtual_time, self._lineup.level())
        lane.depth, lane.waits_since = 1, now
        self.policy.entered(lane, now)
        if self._caps.note(lane.id, self._rooms(lane.org_id)):
            self._lineup.put(lane, virtual_time)
        else:
            self._lineup.charge(lane.org_id, virtual_time)

    def _rooms(self, org_id: UUID) -> dict[UUID, int]:
        most = self._most.get(org_id)
        return {} if most is None else {org_id: most - self._running.get(org_id, 0)}

    def _make_room(self, org_id: UUID) -> None:
        """Let lanes wait again that had no room, as the board does when it hears of a place."""
        for lane in [one for one in self._lanes.values() if one.id in self._caps.under(org_id)]:
            if self._came[lane.id] and self._caps.note(lane.id, self._rooms(org_id)) and lane not in self._lineup:
                lane.depth = len(self._came[lane.id])
                self._lineup.put(lane, self._lineup.virtual_time(org_id))

    def _offer(self, lane: Lane, now: float) -> bool:
        """Let an idle worker ask: one that is warm for the lane that a run came into, else any that would take it."""
        warm = self._idle_with.get(lane.keys[self.fleet.shared])
        if not warm and self.policy.leaves and self._holders.leaves(lane, self._lineup, now):
            return False
        return self._ask(next(iter(warm or self._idle)), now)

    def _ask_idle(self, now: float) -> bool:
        """Let the idle workers ask; whether each got something."""
        if self.fleet.may is None:
            return all(self._ask(number, now) for number in list(self._idle)[: len(self._lineup)])
        got = [self._ask(number, now) for number in list(self._idle)]
        return all(got)

    def _ask(self, number: int, now: float) -> bool:
        worker = self._workers[number]
        choice = self.policy.choose(self._lineup, worker.offer, self._holders, now)
        if choice is None:
            return False
        lane, came = choice.lane, self._came[choice.lane.id]
        self._waits[lane.org_id].append(now - came.popleft())
        self.outcome.longest_unserved = max(self.outcome.longest_unserved, now - lane.waits_since)
        if came:
            self.policy.entered(lane, came[0])
        had = max(self._lineup.virtual_time(lane.org_id), self._lineup.least(lane.org_id))
        virtual_time = had + self.policy.cost(choice)
        self._lineup.claimed(lane, left=len(came), now=now, virtual_time=virtual_time)
        for full in self._caps.taken(lane.id):
            self._lineup.remove(full)
        if not came:
            self._caps.forget(lane.id)
        self._execute(number, worker, lane, now)
        return True

    def _execute(self, number: int, worker: _Worker, lane: Lane, now: float) -> None:
        fleet, held = self.fleet, lane.keys[self.fleet.shared]
        del self._idle[number]
        del self._idle_with[worker.loaded][number]
        seconds = fleet.execute_seconds * (0.7 + 0.3 * self._random.expovariate(1.0))
        end = now + seconds
        if worker.loaded != held:
            self.outcome.loads += 1
            end += fleet.load_seconds
            worker.loaded, worker.executed = held, 0.0
        worker.executed += seconds
        whose = None if fleet.shared else lane.org_id
        worker.offer = self._offered(number, (Warm(whose, lane.fingerprint, lane.models, worker.executed),))
        worker.busy_for = lane.org_id
        self._running[lane.org_id] = self._running.get(lane.org_id, 0) + 1
        org = self._named[lane.id][0]
        self.outcome.most_running[org] = max(self.outcome.most_running.get(org, 0), self._running[lane.org_id])
        lane.expected_seconds = lane.expected_seconds * 0.8 + 0.2 * seconds
        self._holders.note(worker.id, (held,), idle=False, free_at=end)
        heapq.heappush(self._ends, (end, number))

    def _finish(self, number: int, now: float) -> bool:
        worker = self._workers[number]
        assert worker.busy_for is not None and worker.loaded is not None
        self._running[worker.busy_for] -= 1
        self._make_room(worker.busy_for)
        self._idle[number] = None
        self._idle_with.setdefault(worker.loaded, {})[number] = None
        self._holders.note(worker.id, (worker.loaded,), idle=True, free_at=now)
        return self._ask(number, now)


def mixed(
    seed: int, *, rate: float, seconds: float, organizations: int = 1, models: int = 8, own: bool = False
) -> Iterator[Arrival]:
    """Yield runs that come by chance, `rate` a second, some models asked for more often than others (by Zipf's law).

    With `own` every organization has models of its own.
    """
    chance = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(models)]
    names = range(models)
    now = 0.0
    while now < seconds:
        now += chance.expovariate(rate)
        org = f"o{chance.randrange(organizations)}"
        model = f"m{chance.choices(names, weights)[0]}"
        yield (now, org, f"{org}/{model}" if own else model)


def burst(runs: int, *, models: int) -> list[Arrival]:
    """Return runs of one organization that come nearly at once."""
    return [(number * 0.01, "o0", f"m{random.Random(7 + number).randrange(models)}") for number in range(runs)]


def flood(runs: int, *, models: int = 4, small: int = 40) -> list[Arrival]:
    """Return very many runs of one organization at once, and of a small one a run every 30 seconds."""
    big = [(number * 1e-4, "big", f"m{number % models}") for number in range(runs)]
    return sorted(big + [(60.0 + 30 * number, "small", "s0") for number in range(small)])


@dataclass(frozen=True, slots=True)
class Workload:
    """Runs, the fleet that they meet, and how many loads 100 of them may cost."""

    arrivals: Callable[[], Iterable[Arrival]]
    fleet: Fleet
    most_loads_per_100: float = 25.0


_BUSY = Fleet(workers=4, shared=True)
_BUSIER = Fleet(workers=8, shared=True)

WORKLOADS = {
    "burst of 100 runs, 8 models, 1 worker": Workload(lambda: burst(100, models=8), Fleet(workers=1)),
    "60 % load, 1 organization": Workload(lambda: mixed(1, rate=0.6, seconds=7200), _BUSY),
    "60 % load, 5 organizations": Workload(lambda: mixed(2, rate=0.6, seconds=7200, organizations=5), _BUSY),
    "60 % load, 20 organizations, 30 models": Workload(
        lambda: mixed(3, rate=1.2, seconds=7200, organizations=20, models=30), _BUSIER
    ),
    "50 % load, 3 models": Workload(lambda: mixed(4, rate=0.5, seconds=7200, models=3), _BUSY),
    "60 % load, 5 organizations, an engine for each": Workload(
        lambda: mixed(2, rate=0.6, seconds=7200, organizations=5), Fleet(workers=4), most_loads_per_100=30.0
    ),
    "50 % load, 20 organizations with 2 models each, an engine for each": Workload(
        lambda: mixed(3, rate=1.0, seconds=7200, organizations=20, models=2, own=True),
        Fleet(workers=8),
        most_loads_per_100=40.0,
    ),
    "a flood of 10,000 runs, and a small tenant": Workload(lambda: flood(10_000), Fleet(workers=4)),
}
"""Executions of 4 seconds and loads of 12; `60 % load`: so busy would the workers be if nothing had to be loaded."""
