"""Delivering an event to its webhook again."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.audit import recorder
from runflow.callbacks import history_queries as subjects
from runflow.callbacks.compose import batch_message, run_message
from runflow.db.transaction import Transaction
from runflow.deliveries.outbox import insertion
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.webhooks import redelivery_queries as queries
from runflow.webhooks.history import whole
from runflow.webhooks.history_queries import AnyOne


async def redeliver(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID
) -> dict[str, Any]:
    """Tell the webhook of a delivery again, at the URL that it has now; return the new delivery.

    A run or batch is told as it stands now, with fresh URLs; what is gone by now, and evaluations, in the words of
    then. Raises `DeliveryNotFound`, `WebhookNotFound` for one that was deleted, `Conflict` for one that is disabled
    and while a delivery of the same event to it is in flight.
    """
    async with services.db.tenant_pipeline(caller.org_id) as connection:
        before = await queries.original(connection, delivery_id)
        if before is None or webhook_id not in ("any", before.webhook_id):
            raise errors.DeliveryNotFound
        if before.url is None:
            raise errors.WebhookNotFound
        if before.disabled_at is not None:
            raise errors.Conflict("This webhook is disabled. Enable it first (`PATCH … disabled_at: null`).")
        event, body = await _said(services, connection, before)
        fresh_id, statement = insertion(
            org_id=before.org_id,
            kind_code="webhook",
            event_type_code=event,
            target_url=before.url,
            payload=body,
            run_id=before.run_id,
            batch_id=before.batch_id,
            evaluation_id=before.evaluation_id,
            webhook_id=before.webhook_id,
            request_id=before.request_id,
            is_automatic=False,
        )
        await connection.run_clause(statement.on_conflict_do_nothing())
        row = await queries.original(connection, fresh_id)
        if row is None:
            raise errors.Conflict("A delivery of this event to this webhook is still in flight. Wait for its end.")
        details = {"delivery_id": str(delivery_id)}
        await recorder.record_pipelined(
            connection, caller, "webhook.redelivered", "webhook", before.webhook_id, details
        )  # fmt: skip
    services.hub.publish("delivery")
    return whole(row, [])


async def _said(services: Services, connection: Transaction, before: Any) -> tuple[str, bytes]:
    if before.run_id is not None and (run := await subjects.run(connection, before.run_id)) is not None:
        return run_message(services, run)
    if before.batch_id is not None and (batch := await subjects.batch(connection, before.batch_id)) is not None:
        return await batch_message(services, connection, batch)
    return before.event_type_code, before.payload
