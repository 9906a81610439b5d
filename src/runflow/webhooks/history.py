"""Reading what was delivered to webhooks. `any` in the place of an id stands for every one of the organization."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.deliveries import record as records
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, check_projection, envelope, page, project
from runflow.webhooks import history_queries as queries
from runflow.webhooks import queries as webhooks
from runflow.webhooks import service
from runflow.webhooks.history_queries import AnyOne
from runflow.webhooks.listing import ATTEMPT_LIST, DELIVERY_LIST
from runflow.webhooks.schemas import WebhookDelivery


async def deliveries(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, query: ListQuery
) -> dict[str, Any]:
    """Return a page of deliveries, without what they say. Raises `WebhookNotFound`."""
    async with services.db.tenant(caller.org_id) as connection:
        if webhook_id != "any" and await webhooks.by_id(connection, webhook_id) is None:
            raise errors.WebhookNotFound
        statement = build(DELIVERY_LIST, query, queries.of_webhook(webhook_id))
        found = page(DELIVERY_LIST, query, await queries.rows(connection, statement))
        items = [summary(row) for row in found.rows]
        if "webhook" in query.embed:
            rows = await queries.of_ids(connection, {item["webhook_id"] for item in items})
            known = {row.id: service.record(row) for row in rows}
            items = [{**item, "webhook": known.get(item["webhook_id"])} for item in items]
        if "attempts" in query.embed:
            tried = records.by_delivery(await queries.attempts(connection, [item["id"] for item in items]))
            items = [{**item, "attempts": tried.get(item["id"], [])} for item in items]
    return envelope(found, [project(item, query) for item in items])


async def delivery(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID, query: RecordQuery
) -> dict[str, Any]:
    """Return a delivery with what it says and its attempts. Raises `DeliveryNotFound` or `InvalidField`."""
    check_projection(query, frozenset(WebhookDelivery.model_fields), DELIVERY_LIST.embeds)
    async with services.db.tenant(caller.org_id) as connection:
        row = await queries.one(connection, webhook_id, delivery_id)
        if row is None:
            raise errors.DeliveryNotFound
        item = whole(row, await queries.attempts(connection, [delivery_id]))
        if "webhook" in query.embed:
            webhook = await webhooks.by_id(connection, row.webhook_id)
            item["webhook"] = None if webhook is None else service.record(webhook)
    return project(item, query)


async def attempts(
    services: Services, caller: Principal, webhook_id: UUID | AnyOne, delivery_id: UUID | AnyOne, query: ListQuery
) -> dict[str, Any]:
    """Return a page of attempts. Raises `DeliveryNotFound`."""
    async with services.db.tenant(caller.org_id) as connection:
        if delivery_id != "any":
            if await queries.one(connection, webhook_id, delivery_id) is None:
                raise errors.DeliveryNotFound
        elif webhook_id != "any" and await webhooks.by_id(connection, webhook_id) is None:
            raise errors.WebhookNotFound
        statement = build(ATTEMPT_LIST, query, queries.attempts_of(webhook_id, delivery_id))
        found = page(ATTEMPT_LIST, query, await queries.rows(connection, statement))
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
    async with services.db.tenant(caller.org_id) as connection:
        row = await queries.attempt(connection, webhook_id, delivery_id, attempt_id)
    if row is None:
        raise errors.DeliveryAttemptNotFound
    return project(_attempt(row), query)


def summary(row: Any) -> dict[str, Any]:
    """Return a delivery without what it says."""
    return {
        "id": row.id,
        "webhook_id": row.webhook_id,
        "event_type_code": row.event_type_code,
        "url": row.target_url,
        "run_id": row.run_id,
        "batch_id": row.batch_id,
        "evaluation_id": row.evaluation_id,
        **records.state(row),
    }


def whole(row: Any, attempts: Sequence[Any]) -> dict[str, Any]:
    """Return a delivery with what it says and its attempts."""
    return {
        **summary(row),
        "payload": records.payload(row),
        "payload_bytes": bytes(row.payload).decode(),
        "attempts": [records.attempt(one) for one in attempts],
    }


def _attempt(row: Any) -> dict[str, Any]:
    return {**records.attempt(row), "webhook_id": row.webhook_id}
