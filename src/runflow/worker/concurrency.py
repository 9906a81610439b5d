"""How many runs a worker holds at once, so that its engine never idles and no run waits here for nothing."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from runflow.protocol.leases import MOST_WITHOUT

SHORT_SECONDS = 1.0
"""Executions shorter than this are held two deep in the engine: the gap between two prompts would cost a share of them.
Of longer ones the next stays outside, where it can still be given back to the server for another worker."""

UNFINISHED_LIMIT = 6
"""Leases at once, those included whose outputs are still being stored: slow storage must not pile up runs."""

SLOW_LIMIT = 6
"""Leases beside those, whose files take long to come: their places are others', but not the disk and the lines."""

_NEWEST_SHARE = 0.3


class Prefetch:
    """Learns how long executions take and says how far ahead to work."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def executed(self, seconds: float) -> None:
        """An execution took this long; newer ones count for more."""
        known = self._seconds
        self._seconds = seconds if known is None else known + _NEWEST_SHARE * (seconds - known)

    @property
    def is_short(self) -> bool:
        """Whether executions are short; not before one was seen."""
        return self._seconds is not None and self._seconds < SHORT_SECONDS

    @property
    def in_engine(self) -> int:
        """How many prompts the engine may have: one executing, and of short ones a second in its queue."""
        return 2 if self.is_short else 1

    @property
    def ahead(self) -> int:
        """How many leases may be held that have not finished executing: those in the engine and one being prepared."""
        return self.in_engine + 1


@dataclass(eq=False, slots=True)
class _Waiting:
    group: object
    may: Callable[[], bool]
    turn: asyncio.Future[None]


class Limiter:
    """Lets in as many as `limit` says at the moment, first come, first served, and never two groups at once."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._inside: list[object] = []
        self._waiting: list[_Waiting] = []

    @property
    def inside(self) -> int:
        """How many are in."""
        return len(self._inside)

    @property
    def has_room(self) -> bool:
        """Whether one more of those inside would be let in at once."""
        return len(self._inside) < self._limit() and not self._waiting

    def try_enter(self, group: object, may: Callable[[], bool]) -> bool:
        """Take a place if one is free at once, and tell so. Whoever got one must call `leave`."""
        if not self.has_room or (self._inside and self._inside[0] is not group) or not may():
            return False
        self._inside.append(group)
        return True

    async def enter(self, group: object = None, may: Callable[[], bool] = lambda: True) -> None:
        """Wait for a place. Whoever returns from here must call `leave`.

        Who may not yet, by `may`, lets others pass; `recheck` asks again.
        """
        if self.try_enter(group, may):
            return
        waiting = _Waiting(group, may, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.recheck()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.leave(group)
            else:
                self._waiting.remove(waiting)
                self.recheck()
            raise

    def leave(self, group: object = None) -> None:
        """Give the place back."""
        self._inside.remove(group)
        self.recheck()

    def recheck(self) -> None:
        """Let in who fits now; to be called when the limit may have risen, or somebody may who might not."""
        for waiting in list(self._waiting):
            if len(self._inside) >= self._limit() or (self._inside and self._inside[0] is not waiting.group):
                return
            if not waiting.turn.done() and waiting.may():
                self._waiting.remove(waiting)
                self._inside.append(waiting.group)
                waiting.turn.set_result(None)


class Declined:
    """The domains of runs whose files take long to come, of which there were too many here.

    The run that was given back stands first in its lane: without a word it would come again at once, be fetched for a
    while and go back, as often as that takes, while others' runs that could be executed wait behind it. Times in
    seconds: a domain is `declined` for so long, or until there is room again.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._until: dict[str, float] = {}
        """By domain; who was declined last stands last."""

    @property
    def domains(self) -> list[str]:
        """Those of which no run is wanted now, at most as many as a request may name."""
        now = self._now()
        self._until = {domain: until for domain, until in self._until.items() if until > now}
        return list(self._until)[-MOST_WITHOUT:]

    def add(self, domain: str) -> None:
        """One of its runs was given back."""
        self._until.pop(domain, None)
        self._until[domain] = self._now() + self._seconds

    def clear(self) -> None:
        """There is room for one of any domain."""
        self._until.clear()
