"""The pure choice of the next lane."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.queue.choose import (
    MOST_QUANTUM_SECONDS,
    SLACK_SECONDS,
    Choice,
    Warm,
    WorkerOffer,
    choose,
    quantum,
)
from runflow.queue.holders import Holders
from runflow.queue.lineup import SECONDS_PER_PRIORITY, Lane, Lineup, key_of, needs_of, serves

NOW = 1_000_000.0
ORG, OTHER = UUID(int=1), UUID(int=2)
ME, ELSE = UUID(int=100), UUID(int=101)
LOAD = 12.0


def lane(number: int, models: str = "", *, org: UUID = ORG, waited: float = 0.0, **fields: object) -> Lane:
    values = {"gpu_class": "auto", "fingerprint": "f", "waits_since": NOW - waited, "oldest_at": NOW - waited, **fields}
    load = LOAD if models else 0.0
    return Lane(UUID(int=number), org, models=models, **{"load_seconds": load, **values})  # type: ignore[arg-type]


def board(*lanes: Lane, shares: dict[UUID, float] | None = None) -> Lineup:
    lineup = Lineup()
    for one in lanes:
        lineup.put(one, (shares or {}).get(one.org_id, 0.0))
    return lineup


def worker(
    models: str | None = None, executed: float = 0.0, *, whose: UUID | None = ORG, gpu: str = "CPU"
) -> WorkerOffer:
    return WorkerOffer(gpu, [] if models is None else [Warm(whose, "f", models, executed)])


def chosen(lineup: Lineup, offer: WorkerOffer, holders: Holders | None = None) -> int | None:
    choice = choose(lineup, offer, holders or Holders(), NOW)
    return None if choice is None else choice.lane.id.int


def holding(models: str, *, free_in: float | None = None, idle_for: float = 0.0, whose: UUID | None = ORG) -> Holders:
    """Another worker that holds these models: busy for so long, or idle since a while."""
    holders = Holders()
    at = NOW - idle_for if free_in is None else NOW + free_in
    holders.note(ELSE, [key_of(whose, needs_of("f", models))], idle=free_in is None, free_at=at)
    return holders


def test_the_organization_with_the_least_engine_time_comes_first() -> None:
    flood, single = lane(1, "a", waited=3600, priority=50), lane(2, "b", org=OTHER)
    assert chosen(board(flood, single, shares={ORG: 900.0, OTHER: 10.0}), worker()) == 2


def test_within_an_organization_priority_then_age() -> None:
    lanes = [lane(1, "a", waited=30), lane(2, "b", priority=5), lane(3, "c")]
    order = []
    while lanes:
        order.append(chosen(board(*lanes), worker()))
        lanes = [one for one in lanes if one.id.int != order[-1]]
    assert order == [2, 1, 3]


@pytest.mark.parametrize("gpus", [("auto", "auto"), ("auto", "CPU")])
def test_priority_decides_nothing_between_organizations(gpus: tuple[str, str]) -> None:
    urgent, other = lane(1, "a", priority=10, gpu_class=gpus[0]), lane(2, "b", org=OTHER, gpu_class=gpus[1])
    plain = lane(1, "a", gpu_class=gpus[0])
    assert chosen(board(urgent, other), worker()) == chosen(board(plain, other), worker())
    held = worker("a", whose=None), worker("b", whose=None)
    for offer in held:
        assert chosen(board(urgent, other), offer) == chosen(board(plain, other), offer)


def test_priority_counts_across_gpu_classes() -> None:
    lanes = lane(1, "a", waited=30), lane(2, "b", priority=1, gpu_class="CPU")
    assert chosen(board(*lanes), worker()) == 2


def test_age_outgrows_priority() -> None:
    urgent, old = lane(1, "a", priority=3), lane(2, "b", waited=4 * SECONDS_PER_PRIORITY)
    assert chosen(board(urgent, old), worker()) == 2


def test_a_worker_stays_with_what_it_has_loaded_until_that_has_paid() -> None:
    lineup = board(lane(1, "mine"), lane(2, "other", waited=100))
    assert [chosen(lineup, worker("mine", executed)) for executed in (0.0, 4 * LOAD - 1, 4 * LOAD)] == [1, 1, 2]
    assert chosen(board(lane(1, "mine")), worker("mine", 10_000)) == 1, "while nothing else waits"


def test_a_long_load_is_not_paid_for_ever() -> None:
    assert (quantum(12.0), quantum(500.0)) == (48.0, MOST_QUANTUM_SECONDS)


def test_warmth_goes_before_fairness_only_within_the_slack() -> None:
    mine, poor = lane(1, "mine"), lane(2, "other", org=OTHER, waited=100)
    for ahead, expected in ((SLACK_SECONDS, 1), (SLACK_SECONDS + 1, 2)):
        assert chosen(board(mine, poor, shares={ORG: ahead}), worker("mine")) == expected


def test_what_another_organizations_engine_holds_is_not_warm() -> None:
    lineup = board(lane(1, "a"), lane(2, "b", waited=100))
    assert chosen(lineup, worker("a", whose=OTHER)) == 2
    assert chosen(lineup, worker("a", whose=None)) == 1, "an engine that serves everybody is"


def test_a_lane_without_large_models_displaces_nothing() -> None:
    choice = choose(board(lane(1), lane(2, "other", waited=100)), worker("mine", 10.0), Holders(), NOW)
    assert choice is not None and (choice.lane.id.int, choice.loads) == (2, True)
    choice = choose(board(lane(1, waited=200), lane(2, "other", waited=100)), worker("mine", 10.0), Holders(), NOW)
    assert choice is not None and (choice.lane.id.int, choice.loads) == (1, False)


@pytest.mark.parametrize(
    ("holders", "left"),
    [
        (holding("a", free_in=5.0), True),
        (holding("a", free_in=LOAD), False),
        (holding("a", idle_for=3.0), True),
        (holding("a", free_in=-2.0), True),
        (holding("a", free_in=-LOAD), False),
        (holding("b", free_in=5.0), False),
        (holding("a", free_in=5.0, whose=OTHER), False),
        (holding("a", free_in=5.0, whose=None), True),
    ],
)
def test_a_lane_is_left_to_whoever_holds_its_models_and_is_free_before_they_could_be_loaded(
    holders: Holders, left: bool
) -> None:
    assert chosen(board(lane(1, "a")), worker("other"), holders) == (None if left else 1)


def test_a_worker_that_is_free_and_does_not_come_is_not_waited_for_longer_than_a_load() -> None:
    holders = holding("a", idle_for=3600.0)
    assert [chosen(board(lane(1, "a", waited=waited)), worker(), holders) for waited in (1.0, LOAD)] == [None, 1]


def test_a_lane_that_who_holds_its_models_never_takes_is_not_left_for_ever() -> None:
    """Whoever holds them may not serve that lane, and begins another run each time that it is free."""
    left = [chosen(board(lane(1, "a", waited=waited)), worker(), holding("a", free_in=1.0)) for waited in (60.0, 120.0)]
    assert left == [None, 1]


def test_more_than_one_worker_loads_what_many_runs_need() -> None:
    holders = holding("a", free_in=1.0)
    assert chosen(board(lane(1, "a", depth=20, expected_seconds=4.0)), worker(), holders) == 1


def test_who_leaves_a_lane_takes_the_next_one() -> None:
    lineup = board(lane(1, "a", waited=50), lane(2, "b", org=OTHER), shares={OTHER: 1000.0})
    assert chosen(lineup, worker("other"), holding("a", free_in=2.0)) == 2, "rather than idle, beyond the slack too"


def test_a_worker_serves_auto_lanes_and_lanes_that_name_its_gpu() -> None:
    lanes = [lane(1, "a", gpu_class="L40S,A100", waited=2), lane(2, "b", waited=1), lane(3, "c", gpu_class="A1")]
    assert chosen(board(*lanes), worker(gpu="A100")) == 1
    assert chosen(board(*lanes[1:]), worker(gpu="A100")) == 2
    assert chosen(board(lanes[2]), worker(gpu="A100")) is None


some_lanes = st.lists(
    st.builds(
        lane,
        st.integers(1, 10**6),
        st.sampled_from(["", "a", "b", "c"]),
        org=st.integers(1, 4).map(lambda number: UUID(int=number)),
        gpu_class=st.sampled_from(["auto", "L4", "L4,A100", "CPU"]),
        priority=st.integers(-5, 5),
        waited=st.floats(0, 10**6),
        depth=st.integers(1, 50),
    ),
    max_size=20,
    unique_by=lambda one: one.id,
)
shares_of = st.dictionaries(st.integers(1, 4).map(lambda number: UUID(int=number)), st.floats(0, 10**6))
workers = st.builds(
    worker,
    st.sampled_from([None, "a", "b"]),
    st.floats(0, 1000),
    whose=st.sampled_from([None, ORG, OTHER]),
    gpu=st.sampled_from(["CPU", "L4", "A100"]),
)


@given(some_lanes, shares_of, workers)
def test_where_nobody_else_holds_anything_a_worker_takes_something_within_the_slack(
    found: list[Lane], shares: dict[UUID, float], offer: WorkerOffer
) -> None:
    lineup = board(*found, shares=shares)
    able = [one for one in found if serves(one.gpu_class, offer.gpu_code)]
    choice = choose(lineup, offer, Holders(), NOW)
    if not able:
        assert choice is None
        return
    assert choice is not None and choice.lane in able
    least = min(lineup.virtual_time(one.org_id) for one in able)
    assert lineup.virtual_time(choice.lane.org_id) <= least + SLACK_SECONDS
    assert choice.loads == (not offer.is_warm_for(choice.lane))


@given(some_lanes, shares_of, workers)
def test_the_order_in_which_lanes_were_heard_of_does_not_matter(
    found: list[Lane], shares: dict[UUID, float], offer: WorkerOffer
) -> None:
    both: list[Choice | None] = [
        choose(board(*lanes, shares=shares), offer, Holders(), NOW) for lanes in (found, list(reversed(found)))
    ]
    assert both[0] == both[1]


@given(some_lanes, st.sets(st.integers(0, 19)), workers)
def test_a_worker_gets_only_what_it_may_serve_and_something_where_there_is_any(
    found: list[Lane], banned: set[int], offer: WorkerOffer
) -> None:
    allowed = [one for at, one in enumerate(found) if at not in banned]
    choice = choose(board(*found), offer.only_where(lambda one: one in allowed), Holders(), NOW)
    able = [one for one in allowed if serves(one.gpu_class, offer.gpu_code)]
    assert (choice is None) == (not able)
    assert choice is None or choice.lane in able


def test_a_choice_among_ten_thousand_lanes_looks_at_a_few() -> None:
    """The time of one is measured by `scripts/bench scheduling`; this is why it does not grow."""
    lanes = [
        lane(n + 1, f"m{n % 700}", org=UUID(int=n % 97 + 1), waited=float(n % 1000), depth=3) for n in range(10_000)
    ]
    lineup, looks = board(*lanes), 0
    holders = Holders()
    for n in range(700):
        holders.note(UUID(int=n + 1), [key_of(None, needs_of("f", f"m{n}"))], idle=False, free_at=NOW + 1)

    def may(one: Lane) -> bool:
        nonlocal looks
        looks += 1
        return True

    for offer in (worker(), worker("m5", whose=None), worker("m5", 1000.0, whose=UUID(int=6))):
        choose(lineup, offer.only_where(may), holders, NOW)
    assert looks < 300
