"""Trying again while the server is away, ever more slowly."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from runflow.worker.server_api.connection import ServerFailing, ServerUnavailable

log = structlog.get_logger()

T = TypeVar("T")


async def until_answered(
    call: Callable[[], Awaitable[T]], *, what: str, seconds: float, failing_seconds: float | None = None
) -> T:
    """Call until the server answers, refusals included, for at most `seconds`; then raise its `ServerUnavailable`.

    A server that is killed and restarted must find its workers still there: their runs are not lost by that.
    `failing_seconds` is a shorter limit for answers of 5xx, for a full disk that waiting does not empty.
    """
    backoff = Backoff()
    began = time.monotonic()
    tries = 0
    while True:
        try:
            answer = await call()
        except ServerUnavailable as trouble:
            delay = backoff.delay()
            tries += 1
            limit = seconds
            if failing_seconds is not None and isinstance(trouble, ServerFailing):
                limit = failing_seconds
            if time.monotonic() + delay > began + limit:
                raise
            if tries == 1:
                log.warning("The server is away; trying again.", what=what, why=str(trouble))
            await asyncio.sleep(delay)
        else:
            if tries:
                log.info("The server is back.", what=what, tries=tries + 1)
            return answer


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
