"""What the log says of a failure, and what it keeps to itself."""

import io
from collections.abc import Iterator

import pytest
import structlog

from runflow import logs


@pytest.fixture
def unconfigured() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: str) -> None:
    out = io.StringIO()
    logs.configure(log_format, stream=out)
    token = "rf_live_" + "planted" * 5
    try:
        assert token
        raise RuntimeError("it broke")
    except RuntimeError:
        structlog.get_logger().exception("request failed")
    assert "it broke" in out.getvalue() and "test_logs.py" in out.getvalue()
    assert token not in out.getvalue()
