"""How a run looks while it goes on."""

from collections.abc import Iterator
from typing import Any, Self

import pytest

from runflow.cli.following import Lines, follow
from runflow.client import Event, Run, RunTimeout


class Shown(Lines):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.fractions: list[float | None] = []
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def show(self, text: str, fraction: float | None) -> None:
        self.fractions.append(fraction)
        super().show(text, fraction)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Scripted:
    """A client whose answers are written down."""

    def __init__(self, records: list[dict[str, Any]], streams: list[list[Event]]) -> None:
        self.records = [run(**record) for record in records]
        self.streams = streams
        self.asked: list[str | None] = []

    def get_run(self, _: Run, *, wait: float = 0) -> Run:
        return self.records.pop(0)

    def events(self, _: Run, *, last_event_id: str | None = None, timeout: float | None = None) -> Iterator[Event]:
        self.asked.append(last_event_id)
        yield from self.streams.pop(0)


def run(status_code: str = "queued", **more: Any) -> Run:
    return Run({"id": "a", "status_code": status_code, "is_terminal": status_code == "succeeded", **more})


def test_a_queued_run_says_why_and_a_running_one_how_far_it_is() -> None:
    busy = "All workers are busy."
    api = Scripted(
        [
            {"waiting_reason": busy, "queue_position": 2},
            {"waiting_reason": busy, "queue_position": 1},
            {"status_code": "running"},
            {"waiting_reason": "No worker is connected."},
            {"status_code": "running"},
            {"status_code": "succeeded"},
        ],
        [
            [
                Event("1", "status", {"status_code": "running"}),
                Event("2", "progress", {"node_id": "3", "node_type": "KSampler", "value": 1, "max": 2,
                                        "nodes_completed": 0, "nodes_total": 2}),
                Event("3", "status", {"status_code": "queued"}),
                Event("4", "log", {"message": "not read: the record tells more now"}),
            ],
            [Event("5", "status", {"status_code": "succeeded", "is_terminal": True})],
        ],
    )  # fmt: skip
    shown = Shown()
    assert follow(api, run(), shown, timeout=1e9).status_code == "succeeded"  # type: ignore[arg-type]
    assert shown.notes == [
        "queued",
        "queued, 1 before it",
        f"Waiting: {busy}",
        "queued",
        "running",
        "node 3 KSampler",
        "queued",
        "Waiting: No worker is connected.",
        "running",
        "succeeded",
    ]
    assert 0.25 in shown.fractions and shown.fractions[-1] == 1.0
    assert api.asked == [None, "3"], "goes on behind what it has seen"


def test_an_ended_run_is_told_from_its_events() -> None:
    told = [
        Event("1", "log", {"level_code": "warning", "message": "hot"}),
        Event("2", "node", {"node_id": "3", "node_type": "KSampler", "state_code": "succeeded", "duration_ms": 12}),
    ]
    shown = Shown()
    follow(Scripted([], [told]), run("succeeded"), shown, timeout=1e9, verbose=True)  # type: ignore[arg-type]
    assert shown.notes == ["warning: hot", "node 3 KSampler: succeeded in 12 ms"]
    follow(Scripted([], []), run("succeeded"), shown, timeout=1e9)  # type: ignore[arg-type]


def test_a_tail_tells_what_came_after_the_run_was_given_back() -> None:
    streams = [
        [Event("1", "status", {"status_code": "running"}), Event("2", "status", {"status_code": "queued"})],
        [Event("3", "log", {"message": "the end of it"})],
    ]
    api = Scripted([{"status_code": "running"}, {"status_code": "succeeded"}], streams)
    shown = Shown()
    follow(api, run(), shown, timeout=1e9, verbose=True)  # type: ignore[arg-type]
    assert shown.notes[-1] == "info: the end of it" and api.asked == [None, "2"]


def test_the_time_ends_and_says_what_the_run_waited_for() -> None:
    shown = Shown()
    with pytest.raises(RunTimeout):
        follow(Scripted([], []), run(waiting_reason="No worker."), shown, timeout=0)  # type: ignore[arg-type]
    assert shown.notes == ["queued", "Waiting: No worker."]
