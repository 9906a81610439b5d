"""What a run waited for before it executed, of the times that server and worker know: values, and no clock. Pure.

The time from the submission until the execution began is cut at moments that come one after the other. So the parts
add up to the whole, and none is negative, whatever a worker says and however clocks differ.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

MOST_MS = 2**31 - 1
"""What a column of milliseconds holds."""
_MS = timedelta(milliseconds=1)


class HeldAttempt(Protocol):
    """What is asked of an attempt that ends, and of its run."""

    @property
    def created_at(self) -> datetime:
        """When the run was submitted."""

    @property
    def requeued_at(self) -> datetime | None:
        """When the last attempt before this one ended."""

    @property
    def offered_at(self) -> datetime:
        """When the worker got the run."""

    @property
    def worker_came_at(self) -> datetime | None:
        """When its process registered first."""

    @property
    def worker_ready_at(self) -> datetime | None:
        """When the first engine of it had started."""

    @property
    def run_started_at(self) -> datetime | None:
        """When the run began to execute, as far as a heartbeat told."""

    @property
    def now(self) -> datetime:
        """The time of the database."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker says that the run waited for while it had it, in milliseconds."""

    runtime_ms: int = 0
    model_ms: int = 0
    engine_ms: int = 0


NOTHING = Measured()
"""Of a worker that said nothing."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A whole wait, and the parts of it that are not the queue, in milliseconds."""

    waited_ms: int
    machine_ms: int
    runtime_ms: int
    model_ms: int
    engine_ms: int


def begun_at(held: HeldAttempt, told: datetime) -> datetime:
    """Return when the run began to execute: no worker is believed that it was before the submission, or will be."""
    return held.run_started_at or min(held.now, max(held.created_at, told))


def split(held: HeldAttempt, measured: Measured, *, until: datetime) -> Wait:
    """Split the time from the run's submission `until` then.

    Before the offer the run waits for its worker to come and for the first engine of that to start; after it, for what
    the worker has measured. What earlier attempts took is nobody's part, and so the queue's.
    """
    waited = _milliseconds(held, until)
    offered = min(waited, _milliseconds(held, held.offered_at))
    since = min(offered, _milliseconds(held, held.requeued_at or held.created_at))
    came = _between(since, _milliseconds(held, held.worker_came_at or held.created_at), offered)
    ready = _between(came, _milliseconds(held, held.worker_ready_at or held.created_at), offered)
    runtime = min(waited, offered + measured.runtime_ms)
    model = min(waited, runtime + measured.model_ms)
    engine = min(waited, model + measured.engine_ms)
    return Wait(waited, came - since, runtime - offered, model - runtime, (ready - came) + (engine - model))


def _milliseconds(held: HeldAttempt, until: datetime) -> int:
    """Return how long after the submission that is: as `elapsed_ms` of the database does."""
    return _between(0, (until - held.created_at) // _MS, MOST_MS)


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(most, value))
