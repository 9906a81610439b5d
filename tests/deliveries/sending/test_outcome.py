import pytest

from runflow.deliveries.sending.outcome import FailureReason, outcome_of_answer, outcome_of_error
from runflow.outgoing import (
    Answer,
    BlockedAddress,
    InvalidUrl,
    OutgoingConnectionError,
    OutgoingError,
    OutgoingTimeout,
    TooManyRedirects,
)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success(status: int) -> None:
    outcome = outcome_of_answer("host", Answer(status, b"ok", 7))
    assert (outcome.status, outcome.body, outcome.elapsed_ms) == (status, "ok", 7)
    assert (outcome.reason, outcome.message, outcome.is_final) == (None, None, False)


@pytest.mark.parametrize("status", [101, 199, 300, 302, 304, 400, 404, 410, 429, 500, 503])
def test_every_other_status_is_a_failure_and_only_410_is_final(status: int) -> None:
    outcome = outcome_of_answer("hooks.example", Answer(status, b"", 7))
    assert outcome.reason is FailureReason.HTTP_STATUS
    assert outcome.message == f"hooks.example answered with HTTP status {status}."
    assert outcome.is_final == (status == 410)


def test_any_body_can_be_stored_as_text() -> None:
    body = outcome_of_answer("host", Answer(500, b"a\x00b\xff\xe2\x82", 1)).body
    assert body is not None
    assert "\0" not in body
    body.encode()


@pytest.mark.parametrize(
    ("error", "reason", "is_final"),
    [
        (BlockedAddress("h", "refused"), "blocked_address", True),
        (InvalidUrl("h", "refused"), "blocked_address", True),
        (TooManyRedirects("h", "round and round"), "too_many_redirects", False),
        (OutgoingTimeout("h", "late"), "timeout", False),
        (OutgoingConnectionError("h", "reset"), "connection", False),
    ],
)
def test_errors(error: OutgoingError, reason: str, is_final: bool) -> None:
    outcome = outcome_of_error(error, 12)
    assert (outcome.status, outcome.body, outcome.elapsed_ms) == (None, None, 12)
    assert (outcome.reason, outcome.message, outcome.is_final) == (reason, str(error), is_final)
