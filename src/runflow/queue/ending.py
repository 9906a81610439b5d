"""What follows from the end of a run, written by the transaction that ends it.

A run ends in three ways: its worker completes it, its caller cancels it, or a sweep gives it up. Each calls
`run_ended` once, in the transaction that makes the run terminal, so what follows happens exactly when the run ends. The
queue knows nothing of what that is: the composition root hands it in.
"""

from dataclasses import dataclass, field
from typing import Any

from runflow.db.transaction import Transaction
from runflow.protocol.failures import Failure
from runflow.queue.rows import EndedRun, LockedRun
from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    - `run`: the run as it was when it was locked.
    - `status`: `succeeded`, `failed` or `cancelled`.
    - `row`: when it ended, and how long it took.
    - `outputs`: the rows of its files, as the completion named them.
    """

    run: LockedRun
    status: str
    row: EndedRun
    outputs: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None


async def run_ended(services: Services, transaction: Transaction, ending: Ending) -> None:
    """Write everything that a run's end brings about, in the order of `services.consequences`."""
    for consequence in services.consequences:
        if consequence.concerns(ending.run):
            await consequence.write(services, transaction, ending)


def something_follows(services: Services, run: LockedRun) -> bool:
    """Tell whether `run_ended` would write anything: only then the statement's row has to be waited for."""
    return any(consequence.concerns(run) for consequence in services.consequences)
