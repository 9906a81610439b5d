"""What a message says, frozen as bytes when its delivery is made (docs/deliveries.md, "Frozen bytes"). Pure."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson


class RunEvent(StrEnum):
    """What a message about a run can be about."""

    COMPLETED = "run.completed"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"


class BatchEvent(StrEnum):
    """What a message about a batch can be about."""

    SUCCEEDED = "batch.succeeded"
    PARTIAL_SUCCEEDED = "batch.partial_succeeded"
    FAILED = "batch.failed"
    CANCELLED = "batch.cancelled"


class EvaluationEvent(StrEnum):
    """What a message about an evaluation can be about."""

    COMPLETED = "evaluation.completed"
    FAILED = "evaluation.failed"


EVENT_OF_STATUS = {
    "succeeded": RunEvent.COMPLETED,
    "failed": RunEvent.FAILED,
    "cancelled": RunEvent.CANCELLED,
}
"""The event by the terminal status of a run."""


def callback_payload(
    *,
    run_id: UUID,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
    client_ref: str | None,
    workflow: str | None,
) -> tuple[RunEvent, bytes]:
    """Return the event and the body of a message about a run.

    `status` is terminal; `output` is the normalized output of a run that succeeded, the `error` object of one that
    failed, None of one that was cancelled; `workflow` is `owner/slug`. The bytes are what is signed, stored and sent,
    at every attempt the same. Raises KeyError for a status that is not terminal.
    """
    event = EVENT_OF_STATUS[status]
    facts = {"workflow": workflow, "client_ref": client_ref, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, {"run_id": run_id}, status, facts, created_at, completed_at, metadata)


def batch_payload(
    *,
    batch_id: UUID,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
    workflow: str | None,
) -> tuple[BatchEvent, bytes]:
    """Return the event and the body of a message about a batch.

    `status` is terminal; `output` is `{items, succeeded, failed, cancelled, total}`; `workflow` is `owner/slug`.
    Raises ValueError for a status that is not terminal.
    """
    event = BatchEvent(f"batch.{status}")
    facts = {"workflow": workflow, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, {"batch_id": batch_id}, status, facts, created_at, completed_at, metadata)


def evaluation_payload(
    *,
    evaluation_id: UUID,
    run_id: UUID | None,
    status: str,
    output: dict[str, Any] | None,
    duration_ms: int | None,
    created_at: datetime,
    completed_at: datetime | None,
    client_ref: str | None,
) -> tuple[EvaluationEvent, bytes]:
    """Return the event and the body of a message about an evaluation.

    `status` is `completed` or `failed`; `output` is the verdict, or `{code, message}` of the failure; `run_id` is that
    of the run whose output was evaluated, if it was one. Raises ValueError for a status that is not terminal.
    """
    event = EvaluationEvent(f"evaluation.{status}")
    subject = {"evaluation_id": evaluation_id, "run_id": run_id}
    facts = {"client_ref": client_ref, "output": output, "duration_ms": duration_ms}
    return event, _frozen(event, subject, status, facts, created_at, completed_at, None)


def _frozen(
    event: StrEnum,
    subject: dict[str, Any],
    status: str,
    facts: dict[str, Any],
    created_at: datetime,
    completed_at: datetime | None,
    metadata: dict[str, Any] | None,
) -> bytes:
    body = {
        "event": event.value,
        **subject,
        "status": status,
        **facts,
        "created_at": _time(created_at),
        "completed_at": None if completed_at is None else _time(completed_at),
        "metadata": metadata,
    }
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()
