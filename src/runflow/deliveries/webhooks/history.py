"""Reading what was delivered to webhooks, and delivering it again.

`any` in the place of an id stands for every one of the organization.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.deliveries import schemas as records
from runflow.deliveries.callbacks import history_queries as subjects
from runflow.deliveries.messages import batch_message, run_message
from runflow.deliveries.outbox import insert_unless_pending
from runflow.deliveries.tables import DeliveryAttemptRow, DeliveryRow, DeliverySummaryRow
from runflow.deliveries.webhooks import history_queries as queries
from runflow.deliveries.webhooks import queries as webhooks
from runflow.deliveries.webhooks import service
from runflow.deliveries.webhooks.event_types import EVENT_TYPES
from runflow.deliveries.webhooks.history_queries import AnyOne, OriginalRow
from runflow.deliveries.webhooks.queries import ATTEMPT_LIST, DELIVERY_LIST
from runflow.deliveries.webhooks.schemas import WebhookDelivery
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

_DISABLED = "This webhook is disabled. Enable it first (`PATCH … disabled_at: null`)."


async def deliveries(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, query: ListQuery
) -> dict[str, Any]:
    """Return a page of deliveries, without what they say. Raises `WebhookNotFound`."""
    async with services.db.listing(caller.org_id) as transaction:
        if webhook_id != "any" and await webhooks.by_id(transaction, webhook_id) is None:
            raise errors.WebhookNotFound
        base = queries.of_webhook(webhook_id)
        found = await read_page(transaction, DELIVERY_LIST, query, base, row=DeliverySummaryRow)
        items = [summary(row) for row in found.rows]
        if "webhook" in query.embed:
            rows = await queries.of_ids(transaction, {item["webhook_id"] for item in items})
            known = {row.id: service.record(row) for row in rows}
            items = [{**item, "webhook": known.get(item["webhook_id"])} for item in items]
        if "attempts" in query.embed:
            tried = records.by_delivery(await queries.attempts(transaction, [item["id"] for item in items]))
            items = [{**item, "attempts": tried.get(item["id"], [])} for item in items]
    return envelope(found, [project(item, query) for item in items])


async def delivery(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID, query: RecordQuery
) -> dict[str, Any]:
    """Return a delivery with what it says and its attempts. Raises `DeliveryNotFound` or `InvalidField`."""
    check_projection(query, frozenset(WebhookDelivery.model_fields), DELIVERY_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.one(transaction, webhook_id, delivery_id)
        if row is None:
            raise errors.DeliveryNotFound
        item = whole(row, await queries.attempts(transaction, [delivery_id]))
        if "webhook" in query.embed:
            webhook = None if row.webhook_id is None else await webhooks.by_id(transaction, row.webhook_id)
            item["webhook"] = None if webhook is None else service.record(webhook)
    return project(item, query)


async def attempts(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID | AnyOne, query: ListQuery
) -> dict[str, Any]:
    """Return a page of attempts. Raises `DeliveryNotFound`."""
    async with services.db.listing(caller.org_id) as transaction:
        if delivery_id != "any":
            if await queries.one(transaction, webhook_id, delivery_id) is None:
                raise errors.DeliveryNotFound
        elif webhook_id != "any" and await webhooks.by_id(transaction, webhook_id) is None:
            raise errors.WebhookNotFound
        base = queries.attempts_of(webhook_id, delivery_id)
        found = await read_page(transaction, ATTEMPT_LIST, query, base, row=DeliveryAttemptRow, short=True)
    return envelope(found, [project(_attempt(row), query) for row in found.rows])


async def attempt(
    services: Services,
    caller: Principal,
    webhook_id: UUID | AnyOne,
    delivery_id: UUID | AnyOne,
    attempt_id: UUID,
    query: RecordQuery,
) -> dict[str, Any]:
    """Return one attempt. Raises `DeliveryAttemptNotFound` or `InvalidField`."""
    check_projection(query, ATTEMPT_LIST.response_fields, ATTEMPT_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.attempt(transaction, webhook_id, delivery_id, attempt_id)
    if row is None:
        raise errors.DeliveryAttemptNotFound
    return project(_attempt(row), query)


def summary(row: DeliverySummaryRow) -> dict[str, Any]:
    """Return a delivery without what it says."""
    return {
        "id": row.id,
        "webhook_id": row.webhook_id,
        "event_type_code": row.event_type_code,
        "url": row.target_url,
        "run_id": row.run_id,
        "batch_id": row.batch_id,
        "evaluation_id": row.evaluation_id,
        "golden_run_id": row.golden_run_id,
        **records.state(row),
    }


def whole(row: DeliveryRow, attempts: Sequence[DeliveryAttemptRow]) -> dict[str, Any]:
    """Return a delivery with what it says and its attempts."""
    return {
        **summary(row),
        "payload": records.payload(row),
        "payload_bytes": row.payload.decode(),
        "attempts": [records.attempt(one) for one in attempts],
    }


def _attempt(row: DeliveryAttemptRow) -> dict[str, Any]:
    return {**records.attempt(row), "webhook_id": row.webhook_id}


async def redeliver(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID
) -> dict[str, Any]:
    """Tell the webhook of a delivery again, at the URL that it has now; return the new delivery.

    A run or batch is told as it stands now, with fresh URLs; what is gone by now, and evaluations, in the words of
    then. Raises `DeliveryNotFound`, `WebhookNotFound` for one that was deleted, `Conflict` for one that is disabled
    and while a delivery of the same event to it is in flight.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        before = await queries.original(transaction, delivery_id)
        if before is None or webhook_id not in ("any", before.webhook_id):
            raise errors.DeliveryNotFound
        if before.url is None:
            raise errors.WebhookNotFound
        if before.disabled_at is not None:
            raise errors.Conflict(_DISABLED)
        event, body = await _said(services, transaction, before)
        row = await insert_unless_pending(
            transaction,
            org_id=before.org_id,
            kind_code="webhook",
            event_type_code=event,
            target_url=before.url,
            payload=body,
            run_id=before.run_id,
            batch_id=before.batch_id,
            evaluation_id=before.evaluation_id,
            golden_run_id=before.golden_run_id,
            webhook_id=before.webhook_id,
            request_id=before.request_id,
            is_automatic=False,
        )
        if row is None:
            raise errors.Conflict("A delivery of this event to this webhook is still in flight. Wait for its end.")
        details = {"delivery_id": str(delivery_id)}
        await recorder.record(
            transaction, caller, "webhook.redelivered", "webhook", before.webhook_id, details
        )  # fmt: skip
    services.hub.publish("delivery")
    return whole(row, [])


async def deliver_test(
    services: Services, caller: Principal, webhook_id: UUID, event_type_code: str | None
) -> dict[str, Any]:
    """Send the example of an event to a webhook, once, and return the delivery.

    Without `event_type_code` it is the first that the webhook subscribes to. Raises `WebhookNotFound`, and `Conflict`
    for one that is disabled.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        webhook = await webhooks.by_id(transaction, webhook_id)
        if webhook is None:
            raise errors.WebhookNotFound
        if webhook.disabled_at is not None:
            raise errors.Conflict(_DISABLED)
        code = event_type_code or next(iter(webhook.event_type_codes), next(iter(EVENT_TYPES)))
        row = await insert_unless_pending(
            transaction,
            org_id=webhook.org_id,
            kind_code="webhook",
            event_type_code=code,
            target_url=webhook.url,
            payload=orjson.dumps({**EVENT_TYPES[code].payload, "is_test": True}),
            webhook_id=webhook.id,
            is_automatic=False,
            max_attempts=1,
        )
        if row is None:
            raise errors.Conflict("A test of this webhook is still in flight. Wait for its end.")
        details = {"event_type_code": code, "delivery_id": str(row.id)}
        await recorder.record(transaction, caller, "webhook.tested", "webhook", webhook.id, details)
    services.hub.publish("delivery")
    return whole(row, [])


async def _said(services: Services, transaction: Transaction, before: OriginalRow) -> tuple[str, bytes]:
    if before.run_id is not None and (run := await subjects.run(transaction, before.run_id)) is not None:
        return run_message(services, run)
    if before.batch_id is not None and (batch := await subjects.batch(transaction, before.batch_id)) is not None:
        return await batch_message(services, transaction, batch)
    return before.event_type_code, before.payload
