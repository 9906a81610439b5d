"""The end of a batch: counted by the transactions that end its runs, told once (docs/api/batches.md, "Callback")."""

from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID

from runflow.batches import queries
from runflow.batches.queries import EndedItem
from runflow.batches.tables import BatchRow
from runflow.db.transaction import Transaction
from runflow.runs.records import error_document, output_document
from runflow.web.services import Services


async def item_ended(transaction: Transaction, batch_id: UUID, status: str) -> BatchRow | None:
    """Count an item that just ended. Return the row of the batch when it was the last one, which ends it; else None."""
    batch = await queries.count(transaction, batch_id, status)
    return batch if batch.completed_at is not None else None


class Counts(Protocol):
    """What every row of a batch counts."""

    @property
    def items_total(self) -> int:
        """The items it was created with."""

    @property
    def items_succeeded(self) -> int:
        """Those that succeeded."""

    @property
    def items_failed(self) -> int:
        """Those that failed."""

    @property
    def items_cancelled(self) -> int:
        """Those that were cancelled."""


def batch_output(
    services: Services, base_url: str, batch: Counts, items: Iterable[EndedItem], *, seconds: int
) -> dict[str, Any]:
    """Return `output` of a batch that ended: what became of each item, with URLs that live `seconds`."""
    return {
        "items": [_item(services, base_url, item, seconds) for item in items],
        "succeeded": batch.items_succeeded,
        "failed": batch.items_failed,
        "cancelled": batch.items_cancelled,
        "total": batch.items_total,
    }


def _item(services: Services, base_url: str, item: EndedItem, seconds: int) -> dict[str, Any]:
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
