"""The range of time of a statistic, read from a request."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.errors import ValidationFailed
from runflow.web.period import MAX_BUCKETS, MAX_DAYS, Bucket, Period, read_period

NOW = datetime(2026, 3, 10, 14, 30, tzinfo=UTC)


def test_by_default_the_last_thirty_days() -> None:
    found = read_period(None, " ", Bucket.DAY, now=NOW)
    assert (found.start, found.end) == (NOW - timedelta(days=30), NOW)


def test_dates_are_whole_utc_days() -> None:
    found = read_period("2026-01-01", "2026-01-31", Bucket.DAY, now=NOW)
    assert (found.start, found.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert len(found.buckets()) == 31


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01T12:00:00",
        "2026-03-01 12:00",
        "2026-03-01T17:30:00+05:30",
        "2026-03-01T17:30:00 05:30",
        "2026-03-01T12:00:00.000000+00:00",
    ],
)
def test_times_in_every_spelling(text: str) -> None:
    assert read_period(text, None, Bucket.DAY, now=NOW).start == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "bucket", "named"),
    [
        ("soon", None, Bucket.DAY, "from"),
        ("1773142200", None, Bucket.DAY, "from"),
        (None, "2026-13-01", Bucket.DAY, "to"),
        (None, "9999-12-31", Bucket.DAY, "to"),
        ("2026-03-10T14:30:00Z", None, Bucket.DAY, "from"),
        ("2020-01-01", None, Bucket.DAY, "from"),
        ("2026-01-01", None, Bucket.HOUR, "bucket"),
    ],
)
def test_what_cannot_be_is_named(start: str | None, end: str | None, bucket: Bucket, named: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_period(start, end, bucket, now=NOW)
    assert refused.value.errors is not None
    assert refused.value.errors[0]["loc"] == ["query", named]


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    seconds=st.integers(1, MAX_DAYS * 86400),
    bucket=st.sampled_from(Bucket),
)
def test_the_steps_cover_the_range_without_holes(start: datetime, seconds: int, bucket: Bucket) -> None:
    found = Period(start, start + timedelta(seconds=min(seconds, MAX_BUCKETS * 3600)), bucket)
    steps = found.buckets()
    assert steps[0] <= found.start < steps[0] + bucket.width
    assert steps[-1] < found.end <= steps[-1] + bucket.width
    assert all(later - earlier == bucket.width for earlier, later in pairwise(steps))
    assert len(steps) <= MAX_BUCKETS + 1
