"""What follows from the end of a run, written by the transaction that ends it.

A run ends in three ways: its worker completes it, its caller cancels it, or a sweep gives it up. Each calls
`run_ended` once, in the transaction that makes the run terminal, so what follows happens exactly when the run ends.
"""

from dataclasses import dataclass, field
from typing import Any

from runflow.batches.ending import item_ended
from runflow.db.transaction import Transaction
from runflow.evaluations.automatic import evaluate_outputs
from runflow.runs.queue.callback import add_messages
from runflow.services import Services
from runflow.workers.schemas import Failure


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    - `run`: the row of `queries.held` or `queries.for_cancellation` (run_id, org_id, comfyui_workflow_id, metadata, …).
    - `status`: `succeeded`, `failed` or `cancelled`.
    - `row`: what the statement that ended it returned: `duration_ms`, `completed_at`.
    - `outputs`: the rows of its files, as the completion named them.
    """

    run: Any
    status: str
    row: Any
    outputs: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None


async def run_ended(services: Services, connection: Transaction, ending: Ending) -> None:
    """Write everything that a run's end brings about."""
    if ending.run.callback_url or ending.run.has_webhooks:
        await add_messages(services, connection, ending.run, ending.status, ending.row, ending.outputs, ending.failure)
    if ending.run.batch_id is not None:
        await item_ended(services, connection, ending.run.batch_id, ending.status)
    if ending.run.auto_evaluate and ending.status == "succeeded":
        await evaluate_outputs(connection, ending.run, ending.outputs)


def something_follows(run: Any) -> bool:
    """Tell whether `run_ended` would write anything: only then the statement's row has to be waited for."""
    return bool(run.callback_url or run.has_webhooks or run.batch_id or run.auto_evaluate)
