"""After a gap nobody loses what could not be renewed in it."""

import pytest

from runflow.queue.grace import GAP_SECONDS, Grace


class Clocks:
    monotonic = 100.0
    wall = 1000.0

    def __call__(self) -> tuple[float, float]:
        return self.monotonic, self.wall

    def go(self, monotonic: float, wall: float | None = None) -> None:
        self.monotonic += monotonic
        self.wall += monotonic if wall is None else wall


def looks(grace: Grace, clocks: Clocks, seconds: int) -> None:
    for _ in range(seconds):
        clocks.go(1)
        grace.look()


def test_it_begins_with_a_grace_of_whatever_length_is_asked_for() -> None:
    clocks = Clocks()
    grace = Grace(clocks)
    looks(grace, clocks, 6)
    assert grace.is_over(5) and not grace.is_over(20)
    looks(grace, clocks, 15)
    assert grace.is_over(20)


@pytest.mark.parametrize(
    "gap",
    [(24, 24), (0.5, 24), (0.5, 3600)],
    ids=["a stopped process or database", "a suspended machine", "a clock set forward"],
)
def test_every_gap_begins_another(gap: tuple[float, float]) -> None:
    clocks = Clocks()
    grace = Grace(clocks)
    looks(grace, clocks, 30)
    assert grace.is_over(20)
    clocks.go(*gap)
    grace.look()
    assert not grace.is_over(5)
    looks(grace, clocks, 21)
    assert grace.is_over(20)


def test_what_a_busy_machine_does_is_none() -> None:
    clocks = Clocks()
    grace = Grace(clocks)
    looks(grace, clocks, 30)
    clocks.go(GAP_SECONDS)
    grace.look()
    clocks.go(1, -3600)  # a clock set back takes nothing from anybody
    grace.look()
    assert grace.is_over(20)
