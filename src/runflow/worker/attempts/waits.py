"""What a run waits for on its worker before its prompt executes, as far as that can be told apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runflow.worker.pool.pooled_engine import Seat


@dataclass(slots=True)
class Waits:
    """Adds up one run's waits, in seconds: for a runtime, for models, and for engines in which it has a place.

    They never overlap, because a run waits for one after the other. What a run waits for while another run has its
    turn is none of them.
    """

    runtime: float = 0.0
    models: float = 0.0
    seats: list[Seat] = field(default_factory=list)
    """The places that it had: each knows how long an engine was started for it."""

    @contextmanager
    def for_runtime(self) -> Iterator[None]:
        """Count what is done inside as waiting until the runtime of the run's version is here."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.runtime += time.perf_counter() - began

    @contextmanager
    def for_models(self) -> Iterator[None]:
        """Count what is done inside as waiting until models are in the store, or where an engine finds them."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.models += time.perf_counter() - began

    def told(self) -> dict[str, int]:
        """Return them as a completion tells them, in milliseconds."""
        engines = sum(seat.engine_seconds for seat in self.seats)
        return {
            "runtime_ms": round(self.runtime * 1000),
            "model_ms": round(self.models * 1000),
            "engine_ms": round(engines * 1000),
        }
