"""How many runs a worker holds at once, so that its engine never idles and no run waits here for nothing."""

import asyncio
from collections import deque
from collections.abc import Callable

SHORT_SECONDS = 1.0
"""Executions shorter than this are held two deep in the engine: the gap between two prompts would cost a share of them.
Of longer ones the next stays outside, where it can still be given back to the server for another worker."""

UNFINISHED_LIMIT = 6
"""Leases at once, those included whose outputs are still being stored: slow storage must not pile up runs."""

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


class Limiter:
    """Lets in as many as `limit` says at the moment, first come, first served."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def inside(self) -> int:
        """How many are in."""
        return self._inside

    @property
    def has_room(self) -> bool:
        """Whether one more would be let in at once."""
        return self._inside < self._limit() and not self._waiting

    async def enter(self) -> None:
        """Wait for a place. Whoever returns from here must call `leave`."""
        if self.has_room:
            self._inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Give the place back."""
        self._inside -= 1
        self.recheck()

    def recheck(self) -> None:
        """Let in who fits now; to be called when the limit may have risen."""
        while self._waiting and self._inside < self._limit():
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
