"""A clock that is set in the middle of a run changes nothing of what the run tells."""

from runflow.worker.clock import SteadyClock


class Times:
    wall = 1_000_000.0
    steady = 50.0


def test_it_goes_on_where_the_systems_clock_is_set() -> None:
    times = Times()
    clock = SteadyClock(lambda: times.wall, lambda: times.steady)
    assert clock.now() == 1_000_000.0
    times.wall, times.steady = 996_400.0, 53.0  # an hour back, three seconds later
    assert clock.now() == 1_000_003.0
    clock.set()
    assert clock.now() == 996_400.0
