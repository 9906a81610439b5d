"""Who fetches first: what runs wait for, and what was asked for beforehand only while no run fetches anything."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

Fetched = TypeVar("Fetched")


class Turns:
    """Lets runs go first. What is fetched beforehand is broken off for them, and begun again once none fetches."""

    def __init__(self) -> None:
        """Start with nobody fetching."""
        self._runs = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._busy = asyncio.Event()

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Say that a run fetches, until the end of the block."""
        self._runs += 1
        self._quiet.clear()
        self._busy.set()
        try:
            yield
        finally:
            self._runs -= 1
            if not self._runs:
                self._busy.clear()
                self._quiet.set()

    async def behind(self, fetch: Callable[[], Coroutine[Any, Any, Fetched]], waits: Callable[[], None]) -> Fetched:
        """Fetch while no run does, and return what came of it; `waits` is called whenever that has to wait.

        `fetch` is cancelled when a run begins to, and called again afterwards, so it should go on where it ended.
        """
        while True:
            if not self._quiet.is_set():
                waits()
                await self._quiet.wait()
            fetching = asyncio.create_task(fetch(), name="fetch beforehand")
            disturbed = asyncio.create_task(self._busy.wait(), name="runs that fetch")
            try:
                await asyncio.wait({fetching, disturbed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                disturbed.cancel()
                fetching.cancel()
                await asyncio.wait({fetching, disturbed})
            # It may have ended while it was broken off.
            if not fetching.cancelled():
                return fetching.result()
