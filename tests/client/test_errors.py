"""What the SDK makes of refusals, with or without the server's envelope."""

import httpx
import pytest

from runflow.client import ApiError, RunFailed, Runflow, RunflowUnreachable


def test_the_envelope_is_read() -> None:
    body = {"code": "RUN_NOT_FOUND", "message": "There is no such run.", "errors": None}
    error = ApiError(httpx.Response(404, json=body, headers={"Runflow-Request-Id": "abc"}))
    assert (error.status, error.code, error.request_id) == (404, "RUN_NOT_FOUND", "abc")
    assert "There is no such run." in str(error)


def test_a_proxy_s_page_still_makes_an_error() -> None:
    error = ApiError(httpx.Response(502, text="<html>bad gateway</html>"))
    assert (error.code, error.message) == ("HTTP_502", "Bad Gateway")


def test_a_failed_run_says_why() -> None:
    assert str(RunFailed({"status_code": "failed", "failure_message": "Node 3 broke."})) == "Node 3 broke."
    assert "cancelled" in str(RunFailed({"status_code": "cancelled", "failure_message": None}))


def test_nobody_there() -> None:
    with (
        Runflow("http://127.0.0.1:9", "rf_live_x") as client,
        pytest.raises(RunflowUnreachable, match=r"127\.0\.0\.1:9"),
    ):
        client.run("0197f3a0-0000-7000-8000-000000000000")
