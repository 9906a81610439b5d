"""What a process does beside its requests: started again when it fails, and known by name when it stands still."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

RESTART_SECONDS = 1.0
"""Pause before a task that failed is started again."""
TICK_SECONDS = 1.0


class Beat:
    """Says that a task has got through what it does again; call it whenever it has."""

    def __init__(self, background: "Background", seconds: float) -> None:
        """Begin now. Silence of more than `seconds` is standing still."""
        self._background = background
        self._seconds = seconds
        self._last = background.awake

    def __call__(self) -> None:
        """Note it."""
        self._last = self._background.awake

    @property
    def is_late(self) -> bool:
        """Whether it is silent for too long."""
        return self._background.awake - self._last > self._seconds


class Background:
    """The tasks of one process. `awake` counts the seconds in which the process ran: one that was stopped for a while
    (SIGSTOP, a suspended machine) has not stood still in them.
    """

    def __init__(self, restart_seconds: float = RESTART_SECONDS) -> None:
        """Prepare; `restart_seconds` is the pause before a task that failed is started again."""
        self.awake = 0.0
        self._restart_seconds = restart_seconds
        self._beats: dict[str, Beat] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, name: str, seconds: float) -> Beat:
        """Expect of a task that it gets through what it does at least every so many seconds.

        A task that was started again goes on with the beat that it has: failing again and again is standing still.
        """
        return self._beats.setdefault(name, Beat(self, seconds))

    @property
    def watched(self) -> list[str]:
        """The names of the tasks that are expected to say that they go on."""
        return list(self._beats)

    @property
    def standing_still(self) -> list[str]:
        """The names of the watched tasks that have been silent for too long."""
        return [name for name, beat in self._beats.items() if beat.is_late]

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it returns; start it again whenever it fails."""
        while True:
            try:
                return await run()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Something that it awaited was cancelled: nobody wanted its own end.
                log.exception("a background task was interrupted, starting it again", task=name)
            except Exception:
                log.exception("a background task failed, starting it again", task=name)
            await asyncio.sleep(self._restart_seconds)

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep a task running until `stop`."""
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._tick(), name="background clock"))
        self._tasks.append(asyncio.create_task(self.keep(name, run), name=name))

    async def stop(self) -> None:
        """Cancel every task that was started, and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._beats.clear()

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.awake += min(now - last, 2 * TICK_SECONDS)
            last = now


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask a process to end: also that of a closed terminal, except under `nohup`."""
    hears_hangups = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hears_hangups else [])]
