"""The lanes that wait are kept in order, whatever happens to them."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.queue.lineup import MOST_SAVED_SECONDS, Lane, Lineup, by_engine_time, serves

GPUS = ("auto", "L4", "L4,A100")


def lane(number: int, waits_since: float, depth: int) -> Lane:
    """One of twelve lanes of four organizations; what it needs and where it runs follow from its number."""
    return Lane(
        UUID(int=number),
        UUID(int=number % 4 + 1),
        GPUS[number % 3],
        "f",
        f"m{number % 5}",
        priority=number % 2,
        waits_since=waits_since,
        depth=depth,
        expected_seconds=2.0,
    )


changes = st.tuples(
    st.sampled_from(["put", "put", "claimed", "deepen", "remove", "charge"]),
    st.integers(1, 12),
    st.sampled_from([0.0, 1.0, 2.5, 1000.0]),
    st.integers(0, 5),
)


def change(lineup: Lineup, what: str, number: int, value: float, depth: int) -> None:
    known = lineup.get(UUID(int=number))
    if what == "put":
        lineup.put(lane(number, value, depth + 1), value)
    elif what == "charge":
        lineup.charge(UUID(int=number % 4 + 1), value)
    elif what == "remove":
        lineup.remove(UUID(int=number))
    elif known is not None and what == "claimed":
        lineup.claimed(known, left=depth, now=value, virtual_time=lineup.virtual_time(known.org_id) + 1)
    elif known is not None:
        lineup.deepen(known, depth + 1)


@given(st.lists(changes, max_size=60))
def test_every_order_holds_after_any_changes(made: list[tuple[str, int, float, int]]) -> None:
    lineup = Lineup()
    for one in made:
        change(lineup, *one)
    waiting = list(lineup)
    assert len(lineup) == len(waiting)
    for gpu in ("CPU", "L4", "A100"):
        tenants = list(by_engine_time(lineup.pools(gpu)))
        times = [tenant.virtual_time for tenant in tenants]
        assert times == sorted(times)
        found = [one for tenant in tenants for _, _, one in tenant.lanes]
        assert {one.id for one in found} == {one.id for one in waiting if serves(one.gpu_class, gpu)}
        for tenant in tenants:
            assert tenant.virtual_time == lineup.virtual_time(tenant.org_id)
            urgencies = [one.urgency for _, _, one in tenant.lanes]
            assert urgencies == sorted(urgencies)
            alike = [one for places in tenant.warm.values() for _, _, one in places]
            assert {one.id for one in alike} == {one.id for _, _, one in tenant.lanes}
    for key in {key for one in waiting for key in one.keys}:
        expected = sum(one.depth * one.expected_seconds for one in waiting if key in one.keys)
        assert lineup.work(key) == pytest.approx(expected)
    for org in (UUID(int=number) for number in range(1, 5)):
        others = [lineup.virtual_time(one.org_id) for one in waiting if one.org_id != org]
        assert lineup.least(org) == (min(others) - 2.0 - MOST_SAVED_SECONDS if others else 0.0)
    assert lineup.level() == min((lineup.virtual_time(one.org_id) for one in waiting), default=0.0)
