"""What a server process remembers of workers between their polls, so that a poll need not ask the database."""

import time
from dataclasses import dataclass
from uuid import UUID

from runflow.queue.eligibility import Candidate

SILENT_SECONDS = 300.0
"""A worker that has not spoken to this process for so long is read again when it does."""


@dataclass(slots=True)
class KnownWorker:
    """A worker as it registered last. `state` names all of that which matters to what it is offered."""

    instance: UUID
    token_id: UUID
    gpu_code: str
    ready: bool
    candidate: Candidate
    state: str
    noted_at: float = float("-inf")
    """When the database was told last that it is alive."""


class KnownWorkers:
    """The workers that have spoken to one server process of late."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._known: dict[UUID, KnownWorker] = {}
        self._looked_through_at = time.monotonic()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._known)

    def get(self, worker_id: UUID) -> KnownWorker | None:
        """Return what is remembered of a worker."""
        return self._known.get(worker_id)

    def put(self, worker_id: UUID, worker: KnownWorker) -> None:
        """Remember a worker. Those that have long been silent are forgotten: machines come and go."""
        self._known[worker_id] = worker
        now = time.monotonic()
        if now - self._looked_through_at > SILENT_SECONDS:
            self._looked_through_at = now
            limit = now - SILENT_SECONDS
            for one in [one for one, known in self._known.items() if known is not worker and known.noted_at < limit]:
                del self._known[one]

    def drop(self, worker_id: UUID) -> None:
        """Forget a worker, so that it is read again."""
        self._known.pop(worker_id, None)

    def changed(self, worker_id: UUID, state: str) -> None:
        """Forget a worker that has registered with another process: this is not its state, or it may have sent lists.

        The state names lists by their hashes, so that it is the same before they came and after.
        """
        known = self._known.get(worker_id)
        if known is None:
            return
        abilities = known.candidate.abilities
        if known.state != state or (abilities is not None and not abilities.complete):
            self.drop(worker_id)

    def doubt_all(self) -> None:
        """Forget all: nobody knows what was missed. Who waits ends its wait, and is read when it asks again."""
        self._known.clear()

    def is_current(self, worker_id: UUID, instance: UUID) -> bool:
        """Tell whether a worker's process still has its name, is known as it registered last, and is ready."""
        known = self._known.get(worker_id)
        return known is not None and known.instance == instance and known.ready
