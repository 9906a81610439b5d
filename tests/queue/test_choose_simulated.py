"""The choice of lanes in fleets: the queue's own functions in simulated time, beside what chose before them."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runflow.queue import holders
from runflow.queue.choose import SLACK_SECONDS, quantum
from runflow.queue.holders import MOST_LOADS_WAITED
from tests.support.queue_simulation import (
    LOOK_AGAIN_SECONDS,
    WORKLOADS,
    Arrival,
    Fleet,
    FormerPolicy,
    Outcome,
    Simulation,
    flood,
    mixed,
)

LONGEST_EXECUTION = 40.0
"""Far longer than any that a simulation draws, in seconds."""


@cache
def both(name: str) -> tuple[Outcome, Outcome]:
    """Simulate a workload as it was chosen before, and as it is now."""
    workload = WORKLOADS[name]
    arrivals = list(workload.arrivals())
    return (
        Simulation(arrivals, workload.fleet, FormerPolicy()).run(),
        Simulation(arrivals, workload.fleet).run(),
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_models_are_loaded_far_less_often(name: str) -> None:
    former, now = both(name)
    assert former.runs == now.runs
    assert former.loads_per_100 >= 60 and now.loads_per_100 <= WORKLOADS[name].most_loads_per_100
    assert now.ended_at < former.ended_at and now.mean() < former.mean()


@pytest.mark.parametrize("organizations", [1, 5])
def test_a_fleet_that_would_be_busy_for_60_percent_of_the_time_keeps_up(organizations: int) -> None:
    name = f"60 % load, {organizations} organization{'s' if organizations > 1 else ''}"
    former, now = both(name)
    assert now.mean() <= former.mean() / 50


def test_the_tail_of_twenty_organizations_is_bounded() -> None:
    """Thirty sets of models on eight workers: each is loaded once before any is loaded again."""
    fleet = WORKLOADS["60 % load, 20 organizations, 30 models"].fleet
    former, now = both("60 % load, 20 organizations, 30 models")
    turn = 30 / fleet.workers * (quantum(fleet.load_seconds) + fleet.load_seconds)
    assert now.wait(0.99) <= turn + fleet.execute_seconds and now.wait(1.0) <= 2 * turn
    assert former.wait(0.99) > 20 * turn


@pytest.mark.parametrize("shared", [True, False])
def test_a_small_tenant_waits_for_one_run_and_one_load_beside_a_flood(shared: bool) -> None:
    fleet = Fleet(workers=4, shared=shared)
    now = Simulation(flood(10_000), fleet).run()
    assert now.wait(0.99, "small") <= fleet.execute_seconds + fleet.load_seconds + 20
    assert now.loads_per_100 < 15


tenants = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(tenants, st.integers(1, 4), st.sampled_from([1.0, 12.0, 100.0]), st.booleans(), st.integers(0, 10**6))
def test_nothing_starves(lanes: list[int], workers: int, load: float, shared: bool, seed: int) -> None:
    """Every lane always has runs; `lanes` are how many each organization has.

    Organizations share the workers evenly, and each has its lanes in turn: one is served again once all others were.
    """
    arrivals: list[Arrival] = [
        (0.0, f"o{org}", f"o{org}/m{lane}")
        for org, count in enumerate(lanes)
        for lane in range(count)
        for _ in range(1000)
    ]
    turn = quantum(load) + load + LONGEST_EXECUTION
    bound = (len(lanes) * max(lanes) / workers + 1) * turn + SLACK_SECONDS * len(lanes)
    fleet = Fleet(workers=workers, load_seconds=load, shared=shared, seed=seed)
    assert Simulation(arrivals, fleet).run(until=2 * bound).longest_unserved <= bound


priorities = st.lists(st.integers(-10, 10), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(st.lists(priorities, min_size=2, max_size=4), st.integers(1, 4), st.sampled_from([1.0, 12.0]), st.booleans())
def test_priority_takes_nothing_from_other_organizations(
    lanes: list[list[int]], workers: int, load: float, shared: bool
) -> None:
    """Every lane always has runs; `lanes` are the priorities of each organization's."""
    arrivals: list[Arrival] = [
        (0.0, f"o{org}", f"o{org}/m{lane}")
        for org, count in enumerate(lanes)
        for lane in range(len(count))
        for _ in range(2000)
    ]

    def priority(org: str, models: str) -> int:
        return lanes[int(org[1:])][int(models.rpartition("m")[2])]

    fleet = Fleet(workers=workers, load_seconds=load, shared=shared, priority=priority)
    simulation = Simulation(arrivals, fleet)
    simulation.run(until=3000)
    shares = simulation.engine_time().values()
    assert max(shares) - min(shares) <= SLACK_SECONDS + workers * (LONGEST_EXECUTION + load)


@pytest.mark.parametrize("priority", [0, 5, 10])
def test_a_step_of_priority_counts_as_a_minute_within_an_organization(priority: int) -> None:
    """One worker, two lanes that cost no load: the one lags behind the other by as much as their priorities differ."""
    arrivals = [(0.0, "o", name) for name in ("", "other") for _ in range(2000)]
    fleet = Fleet(workers=1, load_seconds=0.0, priority=lambda _, models: 0 if models else priority)
    outcome = Simulation(arrivals, fleet).run(until=2000)
    assert 60.0 * priority <= outcome.longest_unserved <= 60.0 * priority + 2 * LONGEST_EXECUTION


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.integers(0, 10**6))
def test_a_cap_holds_is_reached_and_costs_others_nothing(
    workers: int, lanes: int, others: int, shared: bool, seed: int
) -> None:
    """One organization has a cap and floods; all its runs are done, and others wait as if it had no more than that."""
    most = 1 + seed % 3
    flood = [(0.0, "capped", f"m{number % lanes}") for number in range(200)]
    rest = [(5.0 * number, f"o{org}", "m0") for org in range(others) for number in range(100)]
    fleet = Fleet(workers=workers, load_seconds=1.0, shared=shared, seed=seed, most={"capped": most})
    outcome = Simulation(sorted(flood + rest), fleet).run()
    assert outcome.runs == len(flood) + len(rest)
    assert outcome.most_running["capped"] == min(most, workers)
    if workers > most + others:
        assert all(outcome.mean(f"o{org}") <= 2 * (LONGEST_EXECUTION + 1.0) for org in range(others))


@pytest.mark.parametrize("every", [2.0, 4.5, 30.0])
@pytest.mark.parametrize("load", [1.0, 12.0, 60.0])
@pytest.mark.parametrize("others", [0, 2])
def test_a_lane_whose_models_are_held_by_a_worker_that_may_not_serve_it_does_not_starve(
    every: float, load: float, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker holds what both organizations need, is never done for long, and may serve the first one only."""
    seconds = 40 * (MOST_LOADS_WAITED * load + LONGEST_EXECUTION)
    often = [(number * every, "o0", "m0") for number in range(int(seconds / every))]
    seldom = [(number * seconds / 10 + 1, "o1", "m0") for number in range(10)]
    more = [(number * seconds / 20 + 2, f"p{other}", f"n{other}") for other in range(others) for number in range(20)]
    arrivals = sorted(often + seldom + more)
    fleet = Fleet(workers=2, load_seconds=load, shared=True, may=lambda number, org, _: (number == 0) == (org == "o0"))

    def simulated() -> Outcome:
        return Simulation(arrivals, fleet).run(until=2 * seconds)

    bound = MOST_LOADS_WAITED * load + (others + 1) * (quantum(load) + load + LONGEST_EXECUTION) + LOOK_AGAIN_SECONDS
    now = simulated()
    assert now.wait(1.0, "o1") <= bound and now.longest_unserved <= bound
    if (others, load, every) == (2, 12.0, 4.5):
        monkeypatch.setattr(holders, "MOST_LOADS_WAITED", float("inf"))
        assert simulated().longest_unserved > bound, "it would be left as long as the holder is about to be free"


def test_a_thousand_workers_and_a_million_runs() -> None:
    """It takes as long as it takes, less than a minute of one core; `scripts/bench scheduling` measures it."""
    fleet = Fleet(workers=1000, shared=True)
    arrivals = mixed(11, rate=150, seconds=6700, organizations=5, models=16)
    now = Simulation(arrivals, fleet).run()
    assert now.runs >= 1_000_000
    assert now.loads_per_100 < 1 and now.mean() < 1 and now.wait(1.0) < 60
