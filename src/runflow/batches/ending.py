"""The end of a batch: counted by the transactions that end its runs, told once (docs/api/batches.md, "Callback")."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from runflow.batches import queries
from runflow.db.transaction import Transaction
from runflow.runs.records import error_document, output_document
from runflow.web.services import Services


async def item_ended(connection: Transaction, batch_id: UUID, status: str) -> Any | None:
    """Count an item that just ended. Return the row of the batch when it was the last one, which ends it; else None."""
    batch = await queries.count(connection, batch_id, status)
    return batch if batch.completed_at is not None else None


def batch_output(
    services: Services, base_url: str, batch: Any, items: Iterable[Any], *, seconds: int
) -> dict[str, Any]:
    """Return `output` of a batch that ended: what became of each item, with URLs that live `seconds`."""
    return {
        "items": [_item(services, base_url, item, seconds) for item in items],
        "succeeded": batch.items_succeeded,
        "failed": batch.items_failed,
        "cancelled": batch.items_cancelled,
        "total": batch.items_total,
    }


def _item(services: Services, base_url: str, item: Any, seconds: int) -> dict[str, Any]:
    output = None
    if item.status_code == "succeeded" and not item.output_expired:
        output = output_document(services, base_url, item.outputs, seconds=seconds)
    return {
        "id": item.id,
        "run_id": item.id,
        "sequence_index": item.batch_index,
        "client_ref": item.client_ref,
        "status": item.status_code,
        "output": output,
        "error": error_document(item.failure_code, item.failure_message, item.failure_details),
    }
