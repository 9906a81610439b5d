"""Who waits for a place in an engine, for what, and until when."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from runflow.worker.pool.pooled_engine import Seat


class For(Enum):
    """What a request waits for, and what is said when it waits too long."""

    ROOM = "The engine is busy with another run for more than {:g} s."
    START = "No engine has started."
    """The start of an engine, in good order: as long as that takes, if it is not for ever."""
    REPAIR = "The engine is down."


@dataclass(eq=False, slots=True)
class SeatRequest:
    """A run that waits for a place in an engine of its domain."""

    domain: str
    version_id: UUID
    runtime: str
    """Of whose engines one is wanted; empty: of the worker's own ComfyUI's."""
    seat: asyncio.Future[Seat] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waits_for: For | None = None
    since: float = 0.0
    until: float | None = None
    engine_seconds: float = 0.0
    """How long it has waited for an engine, not for others to leave one."""

    def wait_for(self, what: For | None, now: float) -> None:
        """Wait for something else from now on; None: for nothing any more."""
        if self.waits_for in (For.START, For.REPAIR):
            self.engine_seconds += now - self.since
        self.waits_for, self.since = what, now
