"""The end of a batch: counted by the transactions that end its runs, told once (docs/api/batches.md, "Callback")."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from runflow.batches import queries
from runflow.db.transaction import Transaction
from runflow.deliveries import outbox, payload
from runflow.runs.output import error_document, output_document
from runflow.runs.queue import queries as queue
from runflow.services import Services

URL_SECONDS = 7 * 86400
"""How long the URLs inside a payload live (docs/api/callbacks.md, "Callbacks")."""


async def item_ended(services: Services, connection: Transaction, batch_id: UUID, status: str) -> None:
    """Count an item that just ended. The last one ends the batch, whose callback and webhooks are written here."""
    batch = await queries.count(connection, batch_id, status)
    if batch.completed_at is None:
        return
    items = await queries.items_with_outputs(connection, batch_id)
    workflow = await queue.workflow_path(connection, batch.comfyui_workflow_id)
    event, body = message(services, batch, items, workflow)
    if batch.callback_url:
        _, callback = outbox.insertion(
            org_id=batch.org_id,
            kind_code="callback",
            batch_id=batch_id,
            event_type_code=event,
            target_url=batch.callback_url,
            payload=body,
            request_id=batch.request_id,
        )
        await connection.run_clause(callback)
    await connection.run_clause(
        outbox.webhook_insertions(
            org_id=batch.org_id, event_type_code=event, payload=body, batch_id=batch_id, request_id=batch.request_id
        )
    )


def message(
    services: Services, batch: Any, items: Iterable[Any], workflow: str | None
) -> tuple[payload.BatchEvent, bytes]:
    """Return event and body of the message about a batch that ended.

    `batch` is a row of `batches`; `items` are those of `queries.items_with_outputs`; `workflow` is `owner/slug`.
    """
    return payload.batch_payload(
        batch_id=batch.id,
        status=batch.status_code,
        output=batch_output(services, services.base_url, batch, items, seconds=URL_SECONDS),
        duration_ms=batch.duration_ms,
        created_at=batch.created_at,
        completed_at=batch.completed_at,
        metadata=batch.metadata,
        workflow=workflow,
    )


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
