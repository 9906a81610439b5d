"""One round of chaos: orders come while faults strike, all recovers from each strike, and at the end all is read."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import psycopg

from benchmarks.chaos import records
from benchmarks.chaos.callbacks import Callbacks
from benchmarks.chaos.faults import FAULTS, HOLD_SECONDS, Fault, Missed
from benchmarks.chaos.machine import Hang, Machine, until
from benchmarks.chaos.orders import Callers
from benchmarks.chaos.records import Records
from benchmarks.chaos.verdict import Seen
from runflow.storage.disk import INCOMING

DOUBLE = 0.25
"""How many strikes are of two faults at the same time."""
SECONDS_PER_STRIKE = 10.0
"""About what a strike and its recovery take: how many orders each strike gets is reckoned with it."""
AMID = 0.75
"""How many strikes wait until an engine is at work; the others meet runs that wait, are prepared or have just ended."""
MOST_MISSES = 50
"""How often in a row a fault may find nothing to strike: on a machine that lacks its target the round would not end."""
LEAD_SECONDS = 0.4
"""The most between that and the strike."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Strike:
    """What struck together, how long it lasted, and how long after its end all was well again."""

    faults: tuple[str, ...]
    lasted: float
    recovered: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `patience`: seconds without any progress that count as a hang."""

    runs: int
    seconds: float
    seed: int
    patience: float = 300.0
    faults: tuple[Fault, ...] = FAULTS


@dataclass
class Outcome:
    """What happened."""

    strikes: list[Strike] = field(default_factory=list)
    ordered: int = 0
    """Runs of the plan; each strike's own comes on top."""
    seen: Seen | None = None


class Deck:
    """The order in which faults strike, from the seed alone: all of them, then all of them in another order."""

    def __init__(self, seed: int, faults: tuple[Fault, ...] = FAULTS) -> None:
        self._rng = random.Random(seed)
        self._faults = faults
        self._left: list[Fault] = []
        self._missed: Counter[str] = Counter()

    def draw(self) -> list[Fault]:
        """Return what strikes next: one fault, or two that strike at the same time."""
        count = 2 if self._rng.random() < DOUBLE else 1
        while len(self._left) < count:
            self._left += self._rng.sample(self._faults, len(self._faults))
        drawn = [self._left.pop(0)]
        if count == 2 and self._left[0] not in drawn:
            drawn.append(self._left.pop(0))
        return drawn

    def put_back(self, fault: Fault) -> None:
        """Have a fault strike later that found nothing to strike. Raises `Hang` when it never finds anything."""
        self._missed[fault.name] += 1
        if self._missed[fault.name] > MOST_MISSES:
            raise Hang(f"{fault.name} found nothing to strike {MOST_MISSES} times in a row")
        self._left.append(fault)

    def note(self, fault: Fault) -> None:
        """Remember that a fault struck."""
        del self._missed[fault.name]


def play(plan: Plan, machine: Machine, say: Say) -> Outcome:
    """Strike until the time is over and every fault has struck, wait for all ends, and return what was seen."""
    outcome, hangs, left = Outcome(), list[str](), list[str]()
    found: Records | None = None
    callbacks = Callbacks()
    callers: Callers | None = None
    try:
        machine.start()
        callers = Callers(machine.callers.url, machine.key, callbacks, plan.patience)
        callers.deploy()
        for strike in _strikes(plan, machine, callers, outcome):
            outcome.strikes.append(strike)
            say(f"{' + '.join(strike.faults)}: lasted {strike.lasted:.1f} s, recovered {strike.recovered:.1f} s later")
        callers.order(plan.runs - outcome.ordered)
        _settle(plan, machine, callers)
        say("stopping, letting hours pass, sweeping")
        left += machine.stop()
        found = _swept(plan, machine)
        left += machine.stop()
    except Hang as hang:
        hangs.append(str(hang))
        with contextlib.suppress(psycopg.Error, OSError):
            found = found or records.read(machine.database_url, machine.home / "storage")
    finally:
        if callers is not None:
            callers.close()
        callbacks.close()
    died = [f"{death.name} ended with {death.code}" for death in machine.deaths if not death.struck]
    outcome.seen = Seen(callers.orders if callers else [], callbacks.told, found, hangs, left, died)
    return outcome


def _strikes(plan: Plan, machine: Machine, callers: Callers, outcome: Outcome) -> Iterator[Strike]:
    deck, times = Deck(plan.seed, plan.faults), random.Random(f"times of {plan.seed}")
    burst = max(2, round(plan.runs / max(len(plan.faults), plan.seconds / SECONDS_PER_STRIKE)))
    began, missing = time.monotonic(), {fault.name for fault in plan.faults}
    while missing or time.monotonic() - began < plan.seconds:
        now = min(burst, plan.runs - outcome.ordered)
        outcome.ordered += now
        strike = _strike(deck, machine, callers, times, (now - now // 2, now // 2), plan.patience)
        if strike is not None:
            missing -= set(strike.faults)
            yield strike


def _strike(
    deck: Deck, machine: Machine, callers: Callers, times: random.Random, orders: tuple[int, int], patience: float
) -> Strike | None:
    """Strike once: some orders before it, some while it lasts, one after it; None where nothing was there to strike."""
    callers.order(orders[0])
    if times.random() < AMID:
        until(lambda: callers.ended() or records.executing(machine.database_url) > 0, "an engine at work", patience)
    time.sleep(times.uniform(0, LEAD_SECONDS))
    struck: list[Fault] = []
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for fault in deck.draw():
            try:
                stack.enter_context(fault.strike(machine, times))
                struck.append(fault)
                deck.note(fault)
            except (Missed, psutil.Error, psycopg.Error):
                deck.put_back(fault)
        callers.order(orders[1])
        seconds = times.uniform(*HOLD_SECONDS)
        if any(fault.lasts for fault in struck):
            time.sleep(seconds)
    over = time.monotonic()
    callers.order(1)
    names = tuple(fault.name for fault in struck)
    until(lambda: callers.ended() and machine.whole(), f"recovery from {' + '.join(names)}", 4 * patience)
    return Strike(names, over - began, time.monotonic() - over) if struck else None


def _settle(plan: Plan, machine: Machine, callers: Callers) -> None:
    """Wait until every run and every message has come to its end."""
    until(callers.ended, "the end of all runs", 4 * plan.patience)
    until(lambda: records.pending_deliveries(machine.database_url) == 0, "the end of all messages", plan.patience)


def _swept(plan: Plan, machine: Machine) -> Records:
    """Let retention look at what hours ago would have been due, and read what is there then."""
    records.age(machine.home)
    machine.restart_server("--no-worker")
    incoming = machine.home / "storage" / INCOMING
    with contextlib.suppress(Hang):
        # What is left then is an orphan, and named as one.
        until(
            lambda: records.unswept(machine.database_url) == 0 and not any(incoming.iterdir()),
            "the sweep",
            plan.patience,
        )
    return records.read(machine.database_url, machine.home / "storage")
