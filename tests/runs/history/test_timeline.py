"""The numbered sequence of a run's events: the same for everyone, at every time, from any place on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runflow.runs.history.timeline import END, RunEvent, coalesced, timeline
from runflow.runs.tables import EventsRow

START = datetime(2026, 1, 1, tzinfo=UTC)


def row_of(
    status_code: str = "queued",
    attempts: Sequence[dict[str, Any]] = (),
    events: Sequence[dict[str, Any]] = (),
    **more: Any,
) -> EventsRow:
    """Return a row of `queries.EVENTS`."""
    empty = dict.fromkeys(
        (
            *("completed_at", "duration_ms", "failure_code", "failure_stage_code", "failure_message"),
            *("cancellation_reason", "waited_ms", "machine_ms", "runtime_ms", "model_ms", "engine_ms"),
        )
    )
    return EventsRow(
        **{**empty, **more}, status_code=status_code, attempts=list(attempts), events=list(events), created_at=START
    )


def attempt(number: int, *, ran: bool = False, told: bool = False) -> dict[str, Any]:
    at = START.isoformat()
    return {"number": number, "offered_at": at, "started_at": at, "ran": ran, "told": told}


def stored(sequence: int, type_: str = "log", seconds: float = 0, **data: Any) -> dict[str, Any]:
    at = (START + timedelta(seconds=seconds)).isoformat()
    return {"sequence": sequence, "id": None, "type_code": type_, "data": data, "created_at": at}


def told(row: EventsRow, after: int = 0) -> list[tuple[str, str | None]]:
    return [(event.type, event.data.get("status_code")) for event in timeline(row, after, 500).events]


def test_a_run_whose_worker_sent_nothing_has_every_change_of_status() -> None:
    row = row_of("succeeded", [attempt(1, ran=True)], completed_at=START, duration_ms=4)
    assert told(row) == [
        ("status", "queued"),
        ("status", "dispatching"),
        ("status", "running"),
        ("status", "succeeded"),
    ]
    assert timeline(row, 0, 500).events[-1].data["is_terminal"] is True


def test_what_the_worker_says_itself_is_not_said_twice() -> None:
    row = row_of("running", [attempt(1, told=True)], [stored(1_000_001, "status", status_code="running")])
    assert told(row) == [("status", "queued"), ("status", "dispatching"), ("status", "running")]


def test_an_attempt_that_failed_before_it_ran_never_ran() -> None:
    row = row_of("failed", [attempt(1)], completed_at=START, failure_code="MODEL_MISSING")
    assert told(row) == [("status", "queued"), ("status", "dispatching"), ("status", "failed")]


def test_a_retried_run_is_queued_again_in_between() -> None:
    again = stored(1_900_001, "status", status_code="queued")
    row = row_of("running", [attempt(1, ran=True), attempt(2)], [again])
    assert [code for _, code in told(row)] == ["queued", "dispatching", "running", "queued", "dispatching"]


def test_the_end_waits_for_what_was_not_read_yet() -> None:
    events = [stored(1_000_000 + number) for number in range(1, 4)]
    row = row_of("cancelled", [attempt(1)], events, completed_at=START)
    look = timeline(row, 0, most=3)
    assert look.more and [event.number for event in look.events] == [1, 1_000_000, 1_000_001, 1_000_002, 1_000_003]
    rest = timeline(row_of("cancelled", [attempt(1)], completed_at=START), 1_000_003, most=3)
    assert [event.number for event in rest.events] == [END] and not rest.more


def test_progress_is_told_twice_a_second_and_the_last_one_always() -> None:
    progress = [
        RunEvent(number, "progress", START + timedelta(seconds=number * 0.1), {"value": number}) for number in range(20)
    ]
    kept = coalesced(progress)
    assert [event.number for event in kept] == [4, 9, 14, 19]
    log = RunEvent(7, "log", START, {})
    assert log in coalesced([*progress[:7], log, *progress[8:]])


@given(
    st.lists(st.sampled_from(["log", "node", "status"]), max_size=30),
    st.integers(0, 33),
    st.integers(1, 7),
    st.booleans(),
)
def test_whoever_comes_back_gets_exactly_the_rest(kinds: list[str], cut: int, most: int, ended: bool) -> None:
    """Cut the sequence anywhere and go on after the last number seen: nothing missing, nothing twice."""
    events = [stored(1_000_001 + number, kind, number) for number, kind in enumerate(kinds)]
    status, end = ("succeeded", START) if ended else ("running", None)

    def read(after: int, most: int) -> list[int]:
        seen: list[int] = []
        while True:
            later = [event for event in events if event["sequence"] > after][:most]
            look = timeline(
                row_of(status, [attempt(1, ran=ended, told="status" in kinds)], later, completed_at=end), after, most
            )
            seen += [event.number for event in look.events]
            if not look.more:
                return seen
            after = seen[-1]

    whole = read(0, 1000)
    assert whole == sorted(set(whole)) and read(0, most) == whole
    before = whole[:cut]
    assert before + read(before[-1] if before else 0, most) == whole
