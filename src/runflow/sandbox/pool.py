"""Confined processes, kept for the next file: started when there is work, replaced when they die, ended when idle.

How many run at once is for those to say who ask for them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from runflow.sandbox.process import ConfinedProcess

IDLE_SECONDS = 60.0
"""A process without work for this long is ended: an idle server keeps none."""
START_SECONDS = 60.0
ANSWER_BYTES = 4 * 1024 * 1024


class ProcessPool:
    """The confined processes of one server process that run one module."""

    def __init__(
        self,
        module: str,
        *,
        idle_seconds: float = IDLE_SECONDS,
        start_seconds: float = START_SECONDS,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        """Prepare; nothing is started before there is work."""
        self._module = module
        self._idle_seconds = idle_seconds
        self._start_seconds = start_seconds
        self._answer_bytes = answer_bytes
        self._idle: list[tuple[ConfinedProcess, float]] = []
        self._all: set[ConfinedProcess] = set()
        self._reaper: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many processes there are now."""
        return len(self._all)

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[ConfinedProcess]:
        """Give a process that is ready, an idle one or a new one; whoever asks must have heard all its answers.

        Whatever is raised within ends it. Raises `ProcessFailed` when a new one does not get ready, and OSError where
        the machine cannot start one now.
        """
        process = await self._take()
        try:
            yield process
        except BaseException:
            # Also when cancelled: what the process says next would belong to nobody.
            await self._end(process)
            raise
        self._give_back(process)

    async def _take(self) -> ConfinedProcess:
        while self._idle:
            process, _ = self._idle.pop()
            if process.is_running:
                return process
            await self._end(process)
        return await self._start()

    async def _start(self) -> ConfinedProcess:
        process = await ConfinedProcess.start(self._module, answer_bytes=self._answer_bytes)
        self._all.add(process)
        try:
            process.greeting = await process.receive(seconds=self._start_seconds)
        except BaseException:
            await self._end(process)
            raise
        return process

    def _give_back(self, process: ConfinedProcess) -> None:
        self._idle.append((process, time.monotonic() + self._idle_seconds))
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        while self._idle:
            await asyncio.sleep(max(0.0, min(until for _, until in self._idle) - time.monotonic()))
            now = time.monotonic()
            expired = [process for process, until in self._idle if until <= now]
            # At once, so that nobody takes one of them while another ends.
            self._idle = [entry for entry in self._idle if entry[1] > now]
            for process in expired:
                await self._end(process)

    async def _end(self, process: ConfinedProcess) -> None:
        self._all.discard(process)
        await process.end()

    async def close(self) -> None:
        """End every process."""
        if self._reaper is not None:
            self._reaper.cancel()
        self._idle.clear()
        for process in list(self._all):
            await self._end(process)
