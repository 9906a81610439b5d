"""Shapes of deliveries on the wire that callbacks and webhooks share."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

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
