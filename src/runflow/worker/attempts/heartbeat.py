"""Heartbeats of one lease: they renew it, carry its events, and hear of cancellation."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from runflow.worker.attempts.report import Report
from runflow.worker.server_api.connection import Connection, LeaseLost, NotWelcome, ServerRefused, ServerUnavailable
from runflow.worker.server_api.retry import until_answered

log = structlog.get_logger()

EVENT_SECONDS = 0.5
"""Events are told at most twice a second (docs/api/runs.md, "Following")."""


@dataclass(frozen=True, slots=True)
class HeartbeatTiming:
    """Times in seconds. `first`: until a new lease gets its first heartbeat, sooner than the offer lapses, but not so
    soon that a run of a few milliseconds pays for one. `every`: between two without events."""

    first: float = 1.0
    every: float = 2.0
    patience: float = 600.0
    """How long a server that is away is waited for."""


class Heartbeat:
    """Beats for one lease from `start` to `stop`. Calls `on_cancel` or `on_lost`, the latter at most once."""

    def __init__(
        self,
        connection: Connection,
        lease_id: str,
        report: Report,
        timing: HeartbeatTiming,
        *,
        on_cancel: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._lease_id = lease_id
        self._report = report
        self._timing = timing
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._is_watched = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. A run that completes before the first beat costs a timer, no task and no request."""
        self._timer = asyncio.get_running_loop().call_later(self._timing.first, self._begin)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._beat(), name=f"heartbeat {self._lease_id}")

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while await self._once():
            due = loop.time() + self._timing.every
            while loop.time() < due:
                await asyncio.sleep(min(EVENT_SECONDS, self._timing.every))
                if self._report.waiting or (self._is_watched and self._report.has_preview):
                    break

    async def _once(self) -> bool:
        """Send one heartbeat; return whether the lease is still ours."""
        events = self._report.take()
        preview = self._report.take_preview() if self._is_watched else None
        try:
            answer = await until_answered(
                lambda: self._connection.heartbeat(self._lease_id, events, preview),
                what="heartbeat",
                seconds=self._timing.patience,
            )
        except (LeaseLost, NotWelcome, ServerUnavailable) as reason:
            log.warning("The lease is lost.", lease_id=self._lease_id, reason=str(reason))
            self._on_lost()
            return False
        except ServerRefused as refusal:
            # Renewing matters more than events that the server does not understand.
            log.error("The server refused a heartbeat.", lease_id=self._lease_id, reason=str(refusal))
            self._report.delivered(events)
            return True
        self._report.delivered(events)
        self._is_watched = answer.preview
        if answer.cancel:
            self._on_cancel()
        return True
