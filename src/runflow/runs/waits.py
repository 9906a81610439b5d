"""What a run waited for before it executed, as records show it (docs/api/runs.md, "What a run waited for")."""

from typing import Protocol


class Waited(Protocol):
    """A run or an attempt, with its whole wait and the parts of it that are not the queue, in milliseconds."""

    @property
    def waited_ms(self) -> int | None:
        """The whole wait; None while it is not known."""

    @property
    def machine_ms(self) -> int | None:
        """Until the worker was there."""

    @property
    def runtime_ms(self) -> int | None:
        """Until the runtime was."""

    @property
    def model_ms(self) -> int | None:
        """Until the models were."""

    @property
    def engine_ms(self) -> int | None:
        """Until an engine was."""


def wait_document(row: Waited) -> dict[str, int] | None:
    """Return `wait` of a run or an attempt, whose parts add up to the whole; None while it is not known."""
    if row.waited_ms is None:
        return None
    parts = {
        "machine_ms": row.machine_ms or 0,
        "runtime_ms": row.runtime_ms or 0,
        "model_ms": row.model_ms or 0,
        "engine_ms": row.engine_ms or 0,
    }
    return {"queue_ms": row.waited_ms - sum(parts.values()), **parts}
