"""Rows that cannot be worked on: each is left alone for a while, ever longer, and those behind it have their turn."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from runflow.db.transaction import CONNECTION_TROUBLE, NoConnection

log = structlog.get_logger()

FIRST_SECONDS = 5.0
RETENTION_SECONDS = 900.0
"""Of what is looked for every five minutes: longer than that, so that the next look gets past it."""
LONGEST_PAUSES = 128
"""So many times as long as the first pause is the longest."""
FAILURES_IN_A_ROW = 5
"""So many end the round: the fault is probably not the rows'. The next one passes over them."""
MOST = 1000
"""So many are remembered; the oldest are tried again before their time."""


@dataclass(slots=True)
class _Aside:
    pause: float
    until: float


class SetAside:
    """The rows of one loop that failed in this process."""

    def __init__(
        self, what: str, *, first_seconds: float = FIRST_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`what` names a row in the log; `first_seconds` is how long one is left alone at first."""
        self._what = what
        self._first_seconds = first_seconds
        self._clock = clock
        self._in_a_row = 0
        self._rows: dict[UUID, _Aside] = {}

    @property
    def ids(self) -> list[UUID]:
        """The rows to pass over now."""
        now = self._clock()
        return [row for row, aside in self._rows.items() if aside.until > now]

    async def attempt(self, row: UUID, work: Awaitable[object]) -> bool:
        """Await work on a row, and tell whether it was done; a row that fails is logged and set aside.

        Raises what the connection to the database raises, which is no row's fault, and the last of
        `FAILURES_IN_A_ROW` failures.
        """
        try:
            await work
        except (*CONNECTION_TROUBLE, NoConnection):
            raise
        except Exception as error:
            pause = self._put(row)
            first = (str(error).strip() or repr(error)).split("\n")[0]
            log.exception("a row fails and is set aside", what=self._what, id=str(row), pause_seconds=pause, why=first)
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                self._in_a_row = 0
                raise
            return False
        self._in_a_row = 0
        self._rows.pop(row, None)
        return True

    def _put(self, row: UUID) -> float:
        before = self._rows.pop(row, None)
        first = self._first_seconds
        pause = first if before is None else min(2 * before.pause, LONGEST_PAUSES * first)
        self._rows[row] = _Aside(pause, self._clock() + pause)
        if len(self._rows) > MOST:
            del self._rows[next(iter(self._rows))]
        return pause
