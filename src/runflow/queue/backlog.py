"""Whether and where runs wait for a worker, as far as this process knows: so that nobody looks for nothing.

Hints of every process tell that runs have entered a lane, and which; a look at the lanes tells that none is left. Like
all hints it carries no truth: whoever looks in vain, in the wrong lane, or not at all, only asks a moment later.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from uuid import UUID

from runflow.db.notifications import Hub
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY

TOPIC = "lanes"


def lane_hint(lane: UUID, gpu_class: str = "") -> str:
    """Return the subject of a hint that runs have entered this lane and no other, with its GPU class where known."""
    return f"{lane} {gpu_class}"


class Backlog:
    """What a server process knows of the lanes together."""

    def __init__(self, hub: Hub) -> None:
        """Hear through `hub` of runs that wait."""
        self._hub = hub
        self._hints = 0
        self._may_wait = True
        self._only: tuple[UUID, str] | None = None
        self._waiting: dict[asyncio.Event, UUID | None] = {}
        hub.on(TOPIC, self._told)
        hub.on(ELIGIBILITY, lambda _: self.wake_all())

    @property
    def may_wait(self) -> bool:
        """Whether a run may be waiting; True while hints do not arrive."""
        return self._may_wait or not self._hub.connected

    @property
    def hints(self) -> int:
        """How many hints came so far: to be noted before a look at the lanes."""
        return self._hints

    @contextlib.contextmanager
    def waiting(self, worker: UUID | None = None) -> Iterator[asyncio.Event]:
        """Give an event that the next hint sets, or `wake` of this worker. Look after entering, then wait.

        What comes after entering is not missed where the event is cleared before a look, never after one.
        """
        event = asyncio.Event()
        self._waiting[event] = worker
        try:
            yield event
        finally:
            del self._waiting[event]

    def wake(self, worker: UUID) -> None:
        """Let a worker look again that waits: the lanes are the same, but other ones are offered to it."""
        for event, whose in self._waiting.items():
            if whose == worker:
                event.set()

    def wake_all(self) -> None:
        """Let all look again that wait."""
        for event in self._waiting:
            event.set()

    def doubt(self) -> None:
        """Let all look again: who looked meanwhile may have found nothing where something waits."""
        self._told("")

    @property
    def only(self) -> tuple[UUID, str] | None:
        """What `take_only` would return."""
        return self._only if self._hub.connected else None

    def take_only(self) -> tuple[UUID, str] | None:
        """Return lane and GPU class where all runs that wait are, if so much is known; to the first who asks."""
        only, self._only = self._only, None
        return only if self._hub.connected else None

    def looked(self, hints: int, left: int) -> None:
        """Note that `left` runs wait after a look that began when `hints` had come."""
        if left <= 0 and hints == self._hints:
            self._may_wait = False
            self._only = None

    def _told(self, subject: str) -> None:
        lane, _, gpu_class = subject.partition(" ")
        self._only = (UUID(lane), gpu_class) if gpu_class and not self._may_wait else None
        self._hints += 1
        self._may_wait = True
        self.wake_all()
