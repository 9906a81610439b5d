"""One engine of a worker's pool, and the places that runs have in it."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from runflow.worker.engine.base import Engine
from runflow.worker.pool.engine_supervisor import EngineSupervisor


class PooledEngine(EngineSupervisor):
    """One engine of the pool, with whose it is and what it has done."""

    def __init__(self, engine: Engine, on_change: Callable[[], None], *, planned: bool, runtime: str = "") -> None:
        super().__init__(engine, on_change)
        self.runtime = runtime
        """The fingerprint of what it is an engine of; empty: the worker's own ComfyUI."""
        self.planned = planned
        """Whether it was started in good order, not because another one died."""
        self.domain: str | None = None
        """Whose runs it serves; None: it is new, or serves all."""
        self.seats: set[Seat] = set()
        self.left_at = 0.0
        """When it was started, or left by a run last, by the loop's clock."""
        self.used_at = 0
        """Grows from one seat to the next: the engine that was used least lately is ended first."""
        self.seen_life = self.life
        """The life that the pool knows of."""
        self.prompted = False
        """Whether it got a prompt: from then on it may hold models."""
        self.blamed = 0
        """The life that ended while it executed a prompt of which we know."""
        self.peak: int | None = 0
        """The most memory that its prompts needed, in bytes; None: not known of one."""

    @property
    def is_new(self) -> bool:
        """Whether it is nobody's yet."""
        return self.domain is None and self.engine.isolates

    @property
    def is_idle(self) -> bool:
        """Whether it is somebody's, and has no run."""
        return self.domain is not None and not self.seats and not self.is_going

    @property
    def is_waited_for(self) -> bool:
        """Whether it has a run whose prompt has not had its turn."""
        return any(seat.waits for seat in self.seats)


@dataclass(eq=False, slots=True)
class Seat:
    """A run's place in an engine, from before its preparation until nothing of it is left there."""

    pooled: PooledEngine
    life: int
    number: int
    """Grows from one seat to the next."""
    version_id: UUID
    waits: bool = True
    """Whether its prompt has not had its turn yet."""
    engine_seconds: float = 0.0
    """How long the run has waited for this engine to start, or to answer again."""

    @property
    def engine(self) -> Engine:
        """The engine that it is in."""
        return self.pooled.engine

    @property
    def output_types(self) -> frozenset[str]:
        """The engine's classes of output nodes."""
        description = self.pooled.description
        return frozenset() if description is None else description.output_types

    @property
    def is_lost(self) -> bool:
        """Whether what was given to the engine for this run is gone, or will be."""
        return self.pooled.is_going or not self.engine.alive or self.pooled.life != self.life
