"""How long to wait before trying again."""

import random


class Backoff:
    """Doubling delays up to a limit, each shortened at random by up to a third so that many workers do not move as one.

    The first delay is `first` seconds, the longest `longest` seconds.
    """

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def delay(self) -> float:
        """Return the seconds to wait now; the next answer is up to twice as long."""
        now, self._next = self._next, min(self._next * 2, self._longest)
        return now * (1 - random.random() / 3)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        """Start again with the first delay: it worked."""
        self._next = self._first
