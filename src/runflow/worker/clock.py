"""The time of day for what a run tells, which never goes back while a run is under way.

The system's clock may be set in the middle of a run; then nodes would end before they begin. So the time is read once,
and goes on with the monotonic clock.
"""

import time
from collections.abc import Callable


class SteadyClock:
    """Seconds since 1970 that only grow, but where it is `set`."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """Begin with the system's clock, `wall`, and go on with `steady`."""
        self._wall = wall
        self._steady = steady
        self._ahead = 0.0
        self.set()

    def set(self) -> None:
        """Take the system's time: while nothing is measured."""
        self._ahead = self._wall() - self._steady()

    def now(self) -> float:
        """Return the time."""
        return self._ahead + self._steady()


CLOCK = SteadyClock()
"""The worker's: set whenever a run comes and no other is there."""
