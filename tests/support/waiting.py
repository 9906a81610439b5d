"""Waiting for what a test is about to see, by looking again and again: no fixed time decides what a test says."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

DEADLINE = 60.0
"""Seconds after which a test that waits is hopeless; no test waits that long when all is well."""


async def until(condition: Callable[..., Any], seconds: float = DEADLINE, every: float = 0.005) -> Any:
    """Return what `condition` returns, or what that awaits to, as soon as it is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(every)
