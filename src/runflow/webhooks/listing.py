"""What webhooks, event types, deliveries and attempts can be filtered and sorted by."""

from runflow.deliveries.schemas import REASONS, STATUSES
from runflow.deliveries.tables import deliveries, delivery_attempts
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.web.lists.fixed import fixed_table
from runflow.webhooks.event_types import EVENT_TYPES
from runflow.webhooks.schemas import EventType, Webhook, WebhookAttempt, WebhookDeliverySummary
from runflow.webhooks.tables import webhooks

_EVENT_TYPES = fixed_table(
    "event_types",
    {"code": str, "name": str, "description": str, "sort_order": int},
    [
        {"code": row.code, "name": row.name, "description": row.description, "sort_order": number}
        for number, row in enumerate(EVENT_TYPES.values(), 1)
    ],
)

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
