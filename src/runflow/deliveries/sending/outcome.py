"""What one attempt at a delivery came to. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from runflow.outgoing import (
    Answer,
    BlockedAddress,
    InvalidUrl,
    OutgoingError,
    OutgoingTimeout,
    TooManyRedirects,
)

GONE = 410


class FailureReason(StrEnum):
    """Why a delivery failed (docs/api/callbacks.md, "History and redelivery")."""

    HTTP_STATUS = "http_status"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BLOCKED_ADDRESS = "blocked_address"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt. `reason` and `message` are None when it succeeded; `is_final`: trying again is pointless.

    `status` and `body` are the answer's, where there was one; `elapsed_ms` the time that it took.
    """

    elapsed_ms: int
    status: int | None = None
    body: str | None = None
    reason: FailureReason | None = None
    message: str | None = None
    is_final: bool = False


def outcome_of_answer(host: str, answer: Answer) -> Outcome:
    """Judge an answer: 2xx is a success; 410 says that nobody wants this message (docs/deliveries.md, "Schedule")."""
    body = answer.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if 200 <= answer.status < 300:
        return Outcome(answer.elapsed_ms, answer.status, body)
    return Outcome(
        answer.elapsed_ms,
        answer.status,
        body,
        FailureReason.HTTP_STATUS,
        f"{host} answered with HTTP status {answer.status}.",
        is_final=answer.status == GONE,
    )


def outcome_of_error(error: OutgoingError, elapsed_ms: int) -> Outcome:
    """Judge a request without an answer. What the guard refuses is not tried again."""
    match error:
        case BlockedAddress() | InvalidUrl():
            reason = FailureReason.BLOCKED_ADDRESS
        case TooManyRedirects():
            reason = FailureReason.TOO_MANY_REDIRECTS
        case OutgoingTimeout():
            reason = FailureReason.TIMEOUT
        case _:
            reason = FailureReason.CONNECTION
    return Outcome(elapsed_ms, reason=reason, message=str(error), is_final=reason is FailureReason.BLOCKED_ADDRESS)
