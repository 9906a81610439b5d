"""Calling work off: hosts and programs are waited for no longer than the person wants, and not when ComfyUI ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_LOOK_SECONDS = 0.2
Result = TypeVar("Result")


class Cancelled(Exception):
    """The work was called off."""


class Cancellation(threading.Event):
    """Set by the person, or because ComfyUI ends: Python waits for threads then, and nobody for what they do."""

    def __init__(self) -> None:
        """Belong to the loop that runs."""
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def is_set(self) -> bool:
        """Whether to stop."""
        return super().is_set() or not self._loop.is_running()


async def unless_cancelled(work: Coroutine[Any, Any, Result], cancelled: threading.Event) -> Result:
    """The result of `work`, which is ended when `cancelled` is set, also while a host keeps it waiting.

    Raises:
        Cancelled: `cancelled` was set.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=_LOOK_SECONDS))[0]:
            if cancelled.is_set():
                raise Cancelled
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
