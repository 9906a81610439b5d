"""How well lanes are chosen, in simulated time, beside what chose before; and what one choice costs in real time.

The floor of a choice is what the former one took: it sorted every lane for every ask.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

from runflow.queue.choose import Warm, WorkerOffer, choose
from runflow.queue.holders import Holders
from runflow.queue.lineup import ANY_GPU, Lane, Lineup, key_of, needs_of
from tests.support.queue_simulation import WORKLOADS, Fleet, FormerPolicy, Outcome, Simulation, mixed

NOW = 1_000_000.0
HEADER = f"{'workload':68} {'':8} {'loads/100':>9} {'wait: mean':>10} {'p50':>8} {'p99':>8} {'longest':>8}"


def row(title: str, policy: str, outcome: Outcome) -> str:
    """Return a line of the table: what a workload cost under a policy."""
    waits = (outcome.mean(), *(outcome.wait(share) for share in (0.5, 0.99, 1.0)))
    small = f"   small tenant p99 {outcome.wait(0.99, 'small'):.1f}" if "small" in outcome.waits else ""
    shown = " ".join(f"{wait:{width}.1f}" for wait, width in zip(waits, (10, 8, 8, 8), strict=True))
    return f"{title:68} {policy:8} {outcome.loads_per_100:9.1f} {shown}{small}"


def workloads() -> None:
    """Print each workload of the tests under both policies."""
    print(HEADER)
    for name, workload in WORKLOADS.items():
        arrivals = list(workload.arrivals())
        print(row(name, "former", Simulation(arrivals, workload.fleet, FormerPolicy()).run()))
        print(row("", "now", Simulation(arrivals, workload.fleet).run()), flush=True)


def million(seconds: float) -> None:
    """Print what a large fleet takes to simulate; `seconds` of simulated time, 150 runs in each."""
    began = time.process_time()
    arrivals = mixed(11, rate=150, seconds=seconds, organizations=5, models=16)
    outcome = Simulation(arrivals, Fleet(workers=1000, shared=True)).run()
    took = time.process_time() - began
    print(row(f"1,000 workers, {outcome.runs:,} runs, {took:.1f} s of processor time", "now", outcome))


def many_lanes(count: int) -> tuple[Lineup, Holders]:
    """Return lanes of a hundred organizations, and a thousand workers that hold what some of them need."""
    lineup, holders = Lineup(), Holders()
    for number in range(count):
        org = UUID(int=number % 97 + 1)
        waits = NOW - number % 1000
        lane = Lane(UUID(int=number + 1), org, ANY_GPU, "rt", f"m{number % 700}", oldest_at=waits, waits_since=waits)
        lane.load_seconds, lane.depth = 12.0, 3
        lineup.put(lane, float(org.int % 40))
    for number in range(1000):
        org, needs = UUID(int=number % 97 + 1), needs_of("rt", f"m{number % 700}")
        holders.note(UUID(int=number + 1), [key_of(org, needs)], idle=False, free_at=NOW + 1)
    return lineup, holders


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Return the median time of one call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def choices() -> None:
    """Print what one choice costs, and a claim's change of what is known."""
    print(f"\n{'lanes':>7} {'former':>10} {'now, cold':>10} {'warm':>10} {'rested':>10} {'a claim':>10}   ms, median")
    for count in (100, 1000, 10_000):
        lineup, holders = many_lanes(count)
        former = FormerPolicy()
        former.oldest = {lane.id: lane.oldest_at for lane in lineup}
        offers = [
            WorkerOffer("CPU"),
            WorkerOffer("CPU", [Warm(UUID(int=6), "rt", "m5")]),
            WorkerOffer("CPU", [Warm(UUID(int=6), "rt", "m5", 10_000.0)]),
        ]
        lane = next(iter(lineup))
        taken = [milliseconds(partial(former.choose, lineup, offers[0], holders, NOW), 20)]
        taken += [milliseconds(partial(choose, lineup, offer, holders, NOW), 2000) for offer in offers]
        taken += [milliseconds(partial(lineup.claimed, lane, left=3, now=NOW, virtual_time=1.0), 2000)]
        print(f"{count:7,} " + " ".join(f"{one:10.4f}" for one in taken))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="scripts/bench scheduling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6700, help="simulated seconds of the large fleet")
    given = parser.parse_args()
    workloads()
    million(given.seconds)
    choices()
