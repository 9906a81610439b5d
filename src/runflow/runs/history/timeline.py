"""The events of a run as one numbered sequence: what its workers told, and the changes of its status. Pure.

Workers' events are stored under the attempt's number times a million plus the worker's own number. Between them stand
numbers that no worker can use, for the changes of status that follow from the run's rows: they need no rows of their
own, so the way of a run pays nothing for them. A run that goes back to its lane is the exception, and stored.

Every event has the same number for every listener at every time, and nothing is ever added before a number that was
given out (but after the end, which ends the sequence): who has seen everything up to a number misses nothing by asking
for what comes after it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runflow.protocol.events import FIRST_OF_SERVER, NUMBERS_PER_ATTEMPT
from runflow.protocol.failures import TERMINAL
from runflow.queue.queries import DISPATCHING
from runflow.runs.tables import EventsRow
from runflow.runs.waits import wait_document

PER_ATTEMPT = NUMBERS_PER_ATTEMPT
QUEUED = 1
"""Number of the run's acceptance."""
RUNNING = FIRST_OF_SERVER
"""Within an attempt: its worker never said that it ran, and has ended."""
END = 2_000_000_000
"""Number of the end, after everything."""

PROGRESS_SECONDS = 0.5
"""Of progress, only the last in each span of this length is told (docs/api/runs.md, "Following": two a second)."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event. `type` is `status`, `progress`, `log` or `node`."""

    number: int
    type: str
    at: datetime
    data: dict[str, Any]

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self.number == END


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: events in order, and whether there are more already."""

    events: list[RunEvent]
    more: bool


def timeline(run: EventsRow, after: int, most: int) -> Look:
    """Return the events of a row of `queries.EVENTS` after a number.

    `most` is how many stored events the row was asked for: if it holds that many, what comes after the last of them
    is left for the next look.
    """
    stored = [_stored(event) for event in run.events]
    more = len(stored) >= most
    last = stored[-1].number if more else END
    events = [event for event in (*stored, *_derived(run)) if after < event.number <= last]
    return Look(coalesced(sorted(events, key=lambda event: event.number)), more)


def coalesced(events: Iterable[RunEvent]) -> list[RunEvent]:
    """Leave out progress that a later one in the same half second replaces."""
    kept: list[RunEvent] = []
    told: set[int] = set()
    for event in reversed(list(events)):
        if event.type == "progress":
            span = int(event.at.timestamp() / PROGRESS_SECONDS)
            if span in told:
                continue
            told.add(span)
        kept.append(event)
    return kept[::-1]


def _stored(event: dict[str, Any]) -> RunEvent:
    data = dict(event["data"])
    if event["id"] is not None:
        data["id"] = event["id"]
    if event["type_code"] == "status":
        data["is_terminal"] = False
    return RunEvent(event["sequence"], event["type_code"], _time(event["created_at"]), data)


def _derived(run: EventsRow) -> Iterator[RunEvent]:
    yield _status(QUEUED, "queued", run.created_at)
    for attempt in run.attempts:
        base = attempt["number"] * PER_ATTEMPT
        yield _status(base + DISPATCHING, "dispatching", _time(attempt["offered_at"]))
        if attempt["ran"] and not attempt["told"]:
            yield _status(base + RUNNING, "running", _time(attempt["started_at"]))
    if run.status_code in TERMINAL:
        yield _status(
            END,
            run.status_code,
            run.completed_at or run.created_at,
            is_terminal=True,
            duration_ms=run.duration_ms,
            wait=wait_document(run),
            failure_code=run.failure_code,
            failure_stage_code=run.failure_stage_code,
            failure_message=run.failure_message,
            cancellation_reason=run.cancellation_reason,
        )


def _status(number: int, code: str, at: datetime, **more: Any) -> RunEvent:
    return RunEvent(number, "status", at, {"status_code": code, "is_terminal": False} | more)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
