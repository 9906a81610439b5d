"""Waiting for a host, but no longer than the person wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..manifest.hashes import Cancelled

_LOOK_SECONDS = 0.2
Result = TypeVar("Result")


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
