"""Commands run inside the test process leave its log lines alone."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def _log_lines_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command points every log line of its process at stderr, and here that is captured and soon closed."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
