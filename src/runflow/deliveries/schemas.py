"""Shapes of deliveries on the wire that callbacks and webhooks share, and how rows become records."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, Field

from runflow.deliveries.signing import checked_secret
from runflow.deliveries.tables import DeliveryAttemptRow, DeliveryRow, DeliverySummaryRow
from runflow.outgoing import InvalidUrl, check_url
from runflow.web.responses import Timestamp

Status = Literal["pending", "succeeded", "failed"]
Reason = Literal["http_status", "timeout", "connection", "blocked_address", "too_many_redirects", "exhausted"]

STATUSES = ("pending", "succeeded", "failed")
REASONS = ("http_status", "timeout", "connection", "blocked_address", "too_many_redirects", "exhausted")


class DeliveryAttempt(BaseModel):
    """One try to deliver a message."""

    id: UUID
    delivery_id: UUID
    attempt_number: int = Field(description="From 1.")
    status_code: int | None = Field(description="HTTP status of the answer; null when there was none.")
    response_body: str | None = Field(description="The first 2 KiB of the answer.")
    response_time_ms: int | None
    error_message: str | None = Field(description="What went wrong; null when the message arrived.")
    succeeded: bool
    next_retry_at: Timestamp | None = Field(description="When the next attempt follows; null: none does.")
    created_at: Timestamp


class DeliveryState(BaseModel):
    """How far a message has come."""

    is_automatic: bool = Field(description="False: someone asked for this delivery.")
    status_code: Status
    failure_reason_code: Reason | None = Field(description="Of a pending delivery: why its last attempt failed.")
    failure_detail: str | None
    attempt_count: int
    max_attempts: int
    next_attempt_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
    completed_at: Timestamp | None


MAX_URL = 2048


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _target(url: str) -> str:
    try:
        check_url(_storable(url))
    except InvalidUrl as error:
        raise ValueError(str(error)) from error
    return url


Label = Annotated[str, Field(max_length=255, examples=["production"]), AfterValidator(_storable)]
"""What people call something."""

SecretText = Annotated[str, Field(max_length=255, examples=["whsec_…"]), AfterValidator(checked_secret)]
"""A signing secret that a caller supplies."""

TargetUrl = Annotated[
    str, Field(min_length=1, max_length=MAX_URL, examples=["https://your-server.example/hook"]), AfterValidator(_target)
]
"""Where messages go. Whether the address may be reached is decided at each attempt."""


def state(row: DeliverySummaryRow) -> dict[str, Any]:
    """Return how far a delivery has come."""
    return {name: getattr(row, name) for name in DeliveryState.model_fields}


def payload(row: DeliveryRow) -> dict[str, Any]:
    """Return what a delivery says."""
    body: dict[str, Any] = orjson.loads(row.payload)
    return body


def attempt(row: DeliveryAttemptRow) -> dict[str, Any]:
    """Return an attempt."""
    known = {name: getattr(row, name) for name in DeliveryAttempt.model_fields if name != "succeeded"}
    return {**known, "succeeded": row.error_message is None}


def by_delivery(rows: Iterable[DeliveryAttemptRow]) -> dict[UUID, list[dict[str, Any]]]:
    """Return attempts by the id of their delivery, in the order in which they come."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.delivery_id, []).append(attempt(row))
    return found
