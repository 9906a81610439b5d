"""What a callback says, frozen as bytes when its delivery is made (wire.md, section 8). Pure."""

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
    workflow: str,
) -> tuple[RunEvent, bytes]:
    """Return the event and the body of a callback.

    `status` is terminal; `output` is the normalized output of a run that succeeded, the `error` object of one that
    failed, None of one that was cancelled; `workflow` is `owner/slug`. The bytes are what is signed, stored and sent,
    at every attempt the same. Raises KeyError for a status that is not terminal.
    """
    event = EVENT_OF_STATUS[status]
    body = {
        "event": event.value,
        "run_id": str(run_id),
        "status": status,
        "workflow": workflow,
        "client_ref": client_ref,
        "output": output,
        "duration_ms": duration_ms,
        "created_at": _time(created_at),
        "completed_at": None if completed_at is None else _time(completed_at),
        "metadata": metadata,
    }
    return event, orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()
