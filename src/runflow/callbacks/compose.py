"""What is to be said about a run or a batch as it is now: for redeliveries, with fresh URLs."""

from typing import Any

from runflow.batches import queries as batches
from runflow.batches.ending import message
from runflow.db.transaction import Transaction
from runflow.deliveries.payload import callback_payload
from runflow.runs.output import error_document, output_document
from runflow.runs.queue.callback import URL_SECONDS
from runflow.services import Services


def run_message(services: Services, run: Any) -> tuple[str, bytes]:
    """Return event and body about a run that has ended; `run` is a row of `history_queries.run`."""
    output: dict[str, Any] | None = None
    if run.status_code == "succeeded" and not run.output_expired:
        output = output_document(services, services.base_url, run.outputs, seconds=URL_SECONDS)
    elif run.status_code == "failed":
        output = error_document(run.failure_code, run.failure_message, run.failure_details)
    return callback_payload(
        run_id=run.id,
        status=run.status_code,
        output=output,
        duration_ms=run.duration_ms,
        created_at=run.created_at,
        completed_at=run.completed_at,
        metadata=run.metadata,
        client_ref=run.client_ref,
        workflow=run.workflow,
    )


async def batch_message(services: Services, connection: Transaction, batch: Any) -> tuple[str, bytes]:
    """Return event and body about a batch that has ended; `batch` is a row of `history_queries.batch`."""
    return message(services, batch, await batches.items_with_outputs(connection, batch.id), batch.workflow)
