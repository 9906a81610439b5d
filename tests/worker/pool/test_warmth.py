"""What the worker says of what its engines have loaded."""

import pytest

from runflow.worker.attempts.lease import Lease
from runflow.worker.pool.warmth import Warmth
from runflow.worker.settings import Isolation
from tests.support.fake_server import make_lease


def lease(models: str, domain: str = "org") -> Lease:
    return Lease.read(make_lease(models_key=models, domain=domain, fingerprint="f"))


def run(warmth: Warmth, one: Lease, life: int = 1, seconds: float = 4.0, *, isolates: bool = True) -> bool:
    warmth.took(one)
    loads = warmth.begins(one, life, isolates=isolates)
    warmth.executed(life, seconds)
    warmth.gone(one)
    return loads


def told(warmth: Warmth, *lives: int) -> list[tuple[str | None, str, float]]:
    return [(one.domain, one.models, one.executed_seconds) for one in warmth.told(lives)]


def test_an_engine_holds_the_models_of_its_last_run_and_counts_since_it_loaded_them() -> None:
    warmth = Warmth(Isolation.ORGANIZATION)
    loads = [run(warmth, lease(models)) for models in ("a", "a", "b", "b", "b")]
    assert loads == [True, False, True, False, False]
    assert told(warmth, 1) == [("org", "b", 12.0)]


def test_a_run_without_large_models_displaces_none() -> None:
    warmth = Warmth(Isolation.ORGANIZATION)
    loads = [run(warmth, lease(models)) for models in ("a", "", "a")]
    assert (loads, told(warmth, 1)) == ([True, False, False], [("org", "a", 12.0)])


def test_what_is_held_will_be_loaded_by_then() -> None:
    """A worker asks while it executes: what it gets executes after what it has."""
    warmth, coming = Warmth(Isolation.ORGANIZATION), lease("b")
    run(warmth, lease("a"))
    warmth.took(coming)
    assert told(warmth, 1) == [("org", "b", 0.0)]
    warmth.gone(coming)
    assert told(warmth, 1) == [("org", "a", 4.0)]


def test_what_takes_an_engine_s_place_leaves_it_out() -> None:
    warmth = Warmth(Isolation.ORGANIZATION)
    run(warmth, lease("a", "one"), life=1)
    coming = lease("a", "two")
    warmth.took(coming)
    asked: list[tuple[int | None, object]] = []

    def stays(life: int | None, version_id: object) -> bool:
        asked.append((life, version_id))
        return False

    assert [one.domain for one in warmth.told([1], stays)] == ["two"]
    assert asked == [(1, coming.version_id)]
    assert [one.domain for one in warmth.told([1])] == ["two", "one"]
    warmth.gone(coming)
    assert [one.domain for one in warmth.told([1], stays)] == ["one"], "as long as nothing takes its place"


def test_of_more_domains_than_engines_the_last_ones_are_told() -> None:
    warmth = Warmth(Isolation.ORGANIZATION)
    run(warmth, lease("a", "one"), life=1)
    for domain in ("two", "three"):
        warmth.took(lease("a", domain))
    assert [one.domain for one in warmth.told([1])] == ["three", "two"]


def test_engines_of_two_domains_hold_models_side_by_side() -> None:
    warmth = Warmth(Isolation.ORGANIZATION)
    run(warmth, lease("a", "one"), life=1)
    run(warmth, lease("a", "two"), life=2)
    assert told(warmth, 1, 2) == [("two", "a", 4.0), ("one", "a", 4.0)]
    assert told(warmth, 1) == [("one", "a", 4.0)], "an engine that is gone holds nothing"
    assert run(warmth, lease("a", "two"), life=3), "and the next one has to load"


@pytest.mark.parametrize(("isolation", "isolates"), [(Isolation.WORKER, True), (Isolation.ORGANIZATION, False)])
def test_an_engine_that_serves_everybody_holds_for_everybody(isolation: Isolation, isolates: bool) -> None:
    warmth = Warmth(isolation)
    assert run(warmth, lease("a", "one"), isolates=isolates)
    assert not run(warmth, lease("a", "two"), isolates=isolates)
    assert told(warmth, 1) == [(None, "a", 8.0)]


def test_where_each_run_gets_an_engine_of_its_own_nothing_stays_warm() -> None:
    warmth = Warmth(Isolation.RUN)
    run(warmth, lease("a"))
    assert told(warmth, 1) == []
