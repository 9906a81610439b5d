"""What the SDK makes of refusals, with or without the server's envelope."""

import json

import pytest

from runflow.client import ApiError, InvalidRequest, NotFound, RunCancelled, RunFailed, RunflowError, Unavailable
from runflow.client.errors import api_error, run_error
from runflow.client.records import Run


def test_the_envelope_is_read() -> None:
    body = {
        "code": "VALIDATION_ERROR",
        "message": "Unknown input.",
        "errors": [{"loc": ["body", "input", "foto"], "msg": "Unknown.", "type": "unknown_input", "new": 1}],
    }
    error = api_error(422, {"runflow-request-id": "abc"}, json.dumps(body).encode())
    assert isinstance(error, InvalidRequest) and isinstance(error, RunflowError)
    assert (error.status, error.code, error.request_id) == (422, "VALIDATION_ERROR", "abc")
    assert "Unknown input." in str(error)
    (field,) = error.errors
    assert (field.loc[-1], field.msg, field.type) == ("foto", "Unknown.", "unknown_input")
    assert isinstance(api_error(404, {}, b'{"code": "RUN_NOT_FOUND", "message": "x", "errors": null}'), NotFound)


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (502, b"<html>bad gateway</html>", "HTTP_502", "Bad Gateway"),
        (503, b"[]", "HTTP_503", "Service Unavailable"),
        (418, b"", "HTTP_418", "I'm a Teapot"),
        (599, b"\xff", "HTTP_599", "HTTP status 599"),
    ],
)
def test_a_proxy_s_page_still_makes_an_error(status: int, body: bytes, code: str, message: str) -> None:
    error = api_error(status, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, body)
    assert isinstance(error, ApiError)
    assert (error.code, error.message, error.retry_after) == (code, message, None)
    assert isinstance(error, Unavailable) is (status in (502, 503))


def test_a_failed_run_says_why() -> None:
    assert str(RunFailed({"status_code": "failed", "failure_message": "Node 3 broke."})) == "Node 3 broke."
    cancelled = run_error(Run({"status_code": "cancelled", "failure_message": None}))
    assert isinstance(cancelled, RunCancelled) and "cancelled" in str(cancelled)
