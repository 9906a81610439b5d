"""When leases may be taken back: not right after a time in which nobody could renew them.

A server that has just started, was stopped (SIGSTOP, a suspended machine) or waited for a database that stood still
finds leases expired whose workers are well: they get one lease time to say so, offers one offer time. So does everyone
after a step of the clock.
"""

import time
from collections.abc import Callable

GAP_SECONDS = 3.0
"""A sweeper that heard nothing from the database for longer than this cannot know who tried to renew meanwhile. It
looks every second."""


def clocks() -> tuple[float, float]:
    """Return the seconds that the machine ran, and those of the clock on its wall, which also tells a suspension."""
    return time.monotonic(), time.time()


class Grace:
    """Notes gaps between the looks of one sweeper."""

    def __init__(self, now: Callable[[], tuple[float, float]] = clocks) -> None:
        """Begin with a grace: the process has just started."""
        self._now = now
        self._last = now()
        self._since = self._last[0]

    def look(self) -> None:
        """Note that the database answers now. Call it after each answer, before what it says is acted on."""
        now = self._now()
        if any(time - last > GAP_SECONDS for time, last in zip(now, self._last, strict=True)):
            self._since = now[0]
        self._last = now

    def is_over(self, seconds: float) -> bool:
        """Tell whether the last gap is longer ago than this."""
        return self._last[0] - self._since > seconds
