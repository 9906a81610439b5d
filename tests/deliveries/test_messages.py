from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest

from runflow.deliveries.messages import RunEvent, callback_payload

RUN = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def payload(**changes: Any) -> tuple[RunEvent, bytes]:
    values: dict[str, Any] = {
        "run_id": RUN,
        "status": "succeeded",
        "output": {"outputs": [{"url": "https://x.example/a.png"}]},
        "duration_ms": 1234,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        "completed_at": datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC),
        "metadata": {"z": 1, "a": {"ü": None}},
        "client_ref": "order-7",
        "workflow": "acme/portrait",
    }
    return callback_payload(**{**values, **changes})


def test_every_field() -> None:
    event, body = payload()
    assert event == "run.completed"
    assert orjson.loads(body) == {
        "event": "run.completed",
        "run_id": str(RUN),
        "status": "succeeded",
        "workflow": "acme/portrait",
        "client_ref": "order-7",
        "output": {"outputs": [{"url": "https://x.example/a.png"}]},
        "duration_ms": 1234,
        "created_at": "2026-01-02T03:04:05.678000+00:00",
        "completed_at": "2026-01-02T03:04:07+00:00",
        "metadata": {"z": 1, "a": {"ü": None}},
    }
    assert b'"metadata":{"z":1,"a"' in body, "metadata keeps its order"


def test_the_same_run_gives_the_same_bytes() -> None:
    assert payload() == payload()


def test_times_are_utc_whatever_they_came_in() -> None:
    there = datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert orjson.loads(payload(created_at=there)[1])["created_at"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("status", "event"), [("succeeded", "run.completed"), ("failed", "run.failed"), ("cancelled", "run.cancelled")]
)
def test_events(status: str, event: str) -> None:
    found, body = payload(status=status, output=None, duration_ms=None, completed_at=None, metadata=None)
    assert (found.value, orjson.loads(body)["event"], orjson.loads(body)["status"]) == (event, event, status)


def test_a_run_that_still_goes_on_has_no_event() -> None:
    with pytest.raises(KeyError):
        payload(status="running")
