"""SQL of webhooks, for their organization, and what their list can be filtered and sorted by.

Locks are taken in one order everywhere: webhook, then deliveries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, update

from runflow.db.transaction import Transaction
from runflow.deliveries.schemas import REASONS, STATUSES
from runflow.deliveries.tables import deliveries, delivery_attempts
from runflow.deliveries.webhooks.event_types import EVENT_TYPES
from runflow.deliveries.webhooks.schemas import EventType, Webhook, WebhookAttempt, WebhookDeliverySummary
from runflow.deliveries.webhooks.tables import WebhookRow, webhooks
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.web.lists.spec import fixed_table


async def by_id(transaction: Transaction, webhook_id: UUID) -> WebhookRow | None:
    """Return a webhook of the organization."""
    return await transaction.first(select(webhooks).where(webhooks.c.id == webhook_id), row=WebhookRow)


async def locked(transaction: Transaction, webhook_id: UUID) -> WebhookRow | None:
    """Return a webhook of the organization and lock it."""
    statement = select(webhooks).where(webhooks.c.id == webhook_id).with_for_update()
    return await transaction.first(statement, row=WebhookRow)


async def add(transaction: Transaction, values: Mapping[str, Any]) -> WebhookRow:
    """Insert a webhook and return its row."""
    return await transaction.one(insert(webhooks).values(**values).returning(*webhooks.c), row=WebhookRow)


async def change(
    transaction: Transaction, webhook_id: UUID, values: Mapping[str, Any], *, keep_previous_seconds: int | None
) -> WebhookRow:
    """Change a webhook that is there; return its row.

    With `keep_previous_seconds` its secret of now stays valid for that long beside the new one.
    """
    more: dict[str, Any] = {"updated_at": text("now()")}
    if keep_previous_seconds is not None:
        more["previous_secret"] = webhooks.c.secret
        more["previous_secret_until"] = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, keep_previous_seconds)
    statement = update(webhooks).where(webhooks.c.id == webhook_id).values(**values, **more)
    return await transaction.one(statement.returning(*webhooks.c), row=WebhookRow)


async def disable(transaction: Transaction, webhook_id: UUID, code: str, reason: str) -> None:
    """Disable a webhook that is enabled."""
    values = {"disabled_at": text("now()"), "disabled_reason_code": code, "disabled_reason": reason}
    await transaction.run(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))


async def enable(transaction: Transaction, webhook_id: UUID) -> None:
    """Enable a webhook, and forget what was wrong with it."""
    nothing = dict.fromkeys(("disabled_at", "disabled_reason_code", "disabled_reason", "failing_since"))
    await transaction.run(update(webhooks).where(webhooks.c.id == webhook_id).values(**nothing, failed_attempt_count=0))


async def remove(transaction: Transaction, webhook_id: UUID) -> None:
    """Delete a webhook. Its deliveries stay until their retention ends."""
    await transaction.run(delete(webhooks).where(webhooks.c.id == webhook_id))


_EVENT_TYPES = fixed_table(
    "event_types",
    {"code": str, "name": str, "description": str, "sort_order": int},
    [
        {"code": row.code, "name": row.name, "description": row.description, "sort_order": number}
        for number, row in enumerate(EVENT_TYPES.values(), 1)
    ],
)


@dataclass(frozen=True, slots=True)
class EventTypeRow:
    """A row of the list of event types."""

    code: str
    name: str
    description: str
    sort_order: int


EVENT_TYPE_LIST = ListSpec(
    from_=_EVENT_TYPES,
    fields=(
        ListField("code", _EVENT_TYPES.c.code, FieldKind.STRING),
        ListField("name", _EVENT_TYPES.c.name, FieldKind.STRING),
        ListField("description", _EVENT_TYPES.c.description, FieldKind.STRING),
        ListField("sort_order", _EVENT_TYPES.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset(EventType.model_fields),
    id_field="code",
    default_sort="sort_order:asc",
)

WEBHOOK_LIST = ListSpec(
    from_=webhooks,
    fields=(
        ListField("id", webhooks.c.id, FieldKind.UUID),
        ListField("url", webhooks.c.url, FieldKind.STRING, sortable=False),
        ListField("label", webhooks.c.label, FieldKind.STRING, nullable=True),
        ListField("secret_fingerprint", webhooks.c.secret_fingerprint, FieldKind.STRING),
        ListField("disabled_at", webhooks.c.disabled_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("disabled_reason_code", webhooks.c.disabled_reason_code, FieldKind.STRING, nullable=True),
        ListField("failing_since", webhooks.c.failing_since, FieldKind.TIMESTAMP, nullable=True),
        ListField("last_triggered_at", webhooks.c.last_triggered_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("created_by", webhooks.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", webhooks.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", webhooks.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Webhook.model_fields),
)

DELIVERY_LIST = ListSpec(
    from_=deliveries,
    fields=(
        ListField("id", deliveries.c.id, FieldKind.UUID),
        ListField("webhook_id", deliveries.c.webhook_id, FieldKind.UUID),
        ListField("event_type_code", deliveries.c.event_type_code, FieldKind.ENUM, choices=tuple(EVENT_TYPES)),
        ListField("run_id", deliveries.c.run_id, FieldKind.UUID, nullable=True),
        ListField("batch_id", deliveries.c.batch_id, FieldKind.UUID, nullable=True),
        ListField("evaluation_id", deliveries.c.evaluation_id, FieldKind.UUID, nullable=True),
        ListField("golden_run_id", deliveries.c.golden_run_id, FieldKind.UUID, nullable=True),
        ListField("is_automatic", deliveries.c.is_automatic, FieldKind.BOOL),
        ListField("status_code", deliveries.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField(
            "failure_reason_code",
            deliveries.c.failure_reason_code,
            FieldKind.ENUM,
            choices=REASONS,
            nullable=True,
        ),
        ListField("attempt_count", deliveries.c.attempt_count, FieldKind.INT),
        ListField("next_attempt_at", deliveries.c.next_attempt_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("created_at", deliveries.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", deliveries.c.updated_at, FieldKind.TIMESTAMP),
        ListField("completed_at", deliveries.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(WebhookDeliverySummary.model_fields),
    embeds=frozenset({"webhook", "attempts"}),
)

_SUCCEEDED = delivery_attempts.c.error_message.is_(None)

ATTEMPT_LIST = ListSpec(
    from_=delivery_attempts,
    fields=(
        ListField("id", delivery_attempts.c.id, FieldKind.UUID),
        ListField("delivery_id", delivery_attempts.c.delivery_id, FieldKind.UUID),
        ListField("webhook_id", delivery_attempts.c.webhook_id, FieldKind.UUID),
        ListField("attempt_number", delivery_attempts.c.attempt_number, FieldKind.INT),
        ListField("status_code", delivery_attempts.c.status_code, FieldKind.INT, nullable=True),
        ListField("response_time_ms", delivery_attempts.c.response_time_ms, FieldKind.INT, nullable=True),
        ListField("succeeded", _SUCCEEDED, FieldKind.BOOL),
        ListField("next_retry_at", delivery_attempts.c.next_retry_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("created_at", delivery_attempts.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(WebhookAttempt.model_fields),
)
