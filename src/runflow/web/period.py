"""The range of time that a statistic covers: `from`, `to` and `bucket` of a request (docs/api/metering.md).

Everything is UTC: a time with another offset is converted, one without is taken as UTC. A date alone is the whole UTC
day, so `from=2026-01-01&to=2026-01-31` covers January. `from` is included, `to` is not.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Query

from runflow.errors import ValidationFailed
from runflow.web.parameters import OnlyKnown

DEFAULT_DAYS = 30
MAX_DAYS = 731
MAX_BUCKETS = 1000

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)
_LOST_PLUS = re.compile(r"(:\d{2}(?:\.\d{1,6})?) (\d{2}:\d{2})$", re.ASCII)
"""A `+` that was not escaped in the query arrives as a space."""


class Bucket(StrEnum):
    """The width of one step of a series."""

    HOUR = "hour"
    DAY = "day"

    @property
    def width(self) -> timedelta:
        """The same as a duration."""
        return timedelta(hours=1) if self is Bucket.HOUR else timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` (included) to `end` (not included), in UTC; its series has steps of `bucket`."""

    start: datetime
    end: datetime
    bucket: Bucket = Bucket.DAY

    @property
    def first_bucket(self) -> datetime:
        """The beginning of the first step; it may lie before `start`, but nothing from before `start` is counted."""
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if self.bucket is Bucket.DAY else midnight.replace(hour=self.start.hour)

    def buckets(self) -> list[datetime]:
        """Return the beginning of every step, without holes."""
        count = -((self.first_bucket - self.end) // self.bucket.width)
        return [self.first_bucket + step * self.bucket.width for step in range(count)]


_From = Annotated[
    str | None,
    Query(
        alias="from",
        description="Start, ISO 8601; included. A date alone is its beginning in UTC. Default: 30 days before `to`.",
        examples=["2026-01-01"],
    ),
]
_To = Annotated[
    str | None,
    Query(
        alias="to",
        description="End, ISO 8601; not included. A date alone is the end of that day in UTC. Default: now.",
        examples=["2026-01-31"],
    ),
]
_Bucket = Annotated[Bucket, Query(description="Width of the steps of the series, in UTC.")]


# Coroutines, though nothing is awaited: FastAPI sends a plain function through its thread pool, which costs more.
async def period(from_: _From = None, to: _To = None, bucket: _Bucket = Bucket.DAY, _: OnlyKnown = None) -> Period:
    """Read `from`, `to` and `bucket` (FastAPI dependency). Raises `ValidationFailed` naming the parameter."""
    return read_period(from_, to, bucket)


async def time_range(from_: _From = None, to: _To = None, _: OnlyKnown = None) -> Period:
    """Read `from` and `to` of a route without a series (FastAPI dependency). Raises `ValidationFailed`."""
    return read_period(from_, to, Bucket.DAY)


def read_period(from_: str | None, to: str | None, bucket: Bucket, *, now: datetime | None = None) -> Period:
    """Return the period that these texts name; blank ones count as absent. Raises `ValidationFailed`."""
    end = _moment("to", to, end_of_day=True) or now or datetime.now(UTC)
    try:
        start = _moment("from", from_) or end - timedelta(days=DEFAULT_DAYS)
    except OverflowError:
        raise _refused("to", "is too early") from None
    if start >= end:
        raise _refused("from", f"must be before `to` ({end.isoformat()})")
    if end - start > timedelta(days=MAX_DAYS):
        raise _refused("from", f"lies {(end - start).days} days before `to`; a range has at most {MAX_DAYS} days")
    if (end - start) / bucket.width > MAX_BUCKETS:
        raise _refused("bucket", f"{bucket} would give more than {MAX_BUCKETS} steps: shorten the range, or take `day`")
    return Period(start, end, bucket)


def _moment(name: str, text: str | None, *, end_of_day: bool = False) -> datetime | None:
    if text is None or not text.strip():
        return None
    text = _LOST_PLUS.sub(r"\1+\2", text.strip())
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=end_of_day)
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refused(name, "is no date and time that exists") from None
    raise _refused(name, "must be an ISO 8601 date or time such as 2026-01-31 or 2026-01-31T10:00:00Z")


def _refused(name: str, why: str) -> ValidationFailed:
    message = f"`{name}` {why}."
    return ValidationFailed(message, errors=[{"loc": ["query", name], "msg": message, "type": "invalid_period"}])
