"""Events are heard once and in order, however often the stream breaks."""

import itertools
import json

import pytest

from runflow.client import AsyncRunflow, NotFound, Runflow, RunflowUnreachable, RunTimeout
from runflow.client import exchange as pauses
from runflow.client.event_stream import Parser
from tests.support.scripted import CUT, Reply, scripted

EVENTS = {"Content-Type": "text/event-stream"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(pauses, "LONGEST_PAUSE", 0.01)


def text(number: int, kind: str = "log", **data: object) -> bytes:
    return f": comment\nid: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def test_lines_become_events() -> None:
    parser = Parser()
    lines = ["", ": hello", "id: 7", "event: node", 'data: {"a":', "data:  1}", "", "data: {}", "", "id: 9", ""]
    events = [event for line in lines if (event := parser.feed(line)) is not None]
    assert [(one.number, one.kind, dict(one)) for one in events] == [("7", "node", {"a": 1}), ("7", "message", {})]
    assert parser.number == "9"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stream_goes_on_behind_the_last_event(kind: str) -> None:
    end = text(4, "status", status_code="succeeded", is_terminal=True)
    replies: list[Reply | str] = [
        Reply(200, text(1) + text(2) + b"id: 3\nevent: log\nda", EVENTS, cut_off=True),
        CUT,
        Reply(503, {"code": "UNAVAILABLE", "message": "Soon."}),
        Reply(200, text(3), EVENTS),  # ends without the end: the server restarted
        Reply(200, end + text(5), EVENTS),
    ]
    with scripted(*replies) as server:
        if kind == "sync":
            with Runflow(server.url, "rf_live_x") as api:
                heard = list(api.events("a"))
        else:
            async with AsyncRunflow(server.url, "rf_live_x") as awaited:
                heard = [event async for event in awaited.events("a")]
    assert [one.number for one in heard] == ["1", "2", "3", "4"]
    assert heard[-1].is_end
    assert server.header("Last-Event-ID") == [None, "2", "2", "2", "3"]
    assert {*server.header("Accept")} == {"text/event-stream"}


def test_who_comes_back_after_the_end_hears_nothing() -> None:
    with scripted(Reply(204, b"")) as server, Runflow(server.url, "rf_live_x") as api:
        assert list(api.events("a", last_event_id="99")) == []
    assert server.header("Last-Event-ID") == ["99"]


def test_a_stream_that_stays_away_ends_in_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "monotonic", itertools.count().__next__)  # a second passes at every look
    with scripted(*[CUT] * 20) as server, Runflow(server.url, "rf_live_x", retry_seconds=3.5) as api:
        with pytest.raises(RunflowUnreachable):
            list(api.events("a"))
        assert len(server.requests) == 5
    missing = Reply(404, {"code": "RUN_NOT_FOUND", "message": "There is no such run."})
    with scripted(missing) as server, Runflow(server.url, "rf_live_x") as api, pytest.raises(NotFound):
        list(api.events("a"))


@pytest.mark.parametrize("silence", [b"", b": keep-alive\n\n"])
def test_a_stream_that_was_silent_for_long_goes_on_after_a_break(
    monkeypatch: pytest.MonkeyPatch, silence: bytes
) -> None:
    """While a node computes there is no event for minutes, and the connection may break just then, again and again."""
    monkeypatch.setattr(pauses, "monotonic", itertools.count(step=60).__next__)  # a minute passes at every look
    end = Reply(200, text(2, "status", status_code="succeeded", is_terminal=True), EVENTS)
    broken = [Reply(200, b"retry: 2000\n\n" + text(1) + silence, EVENTS, cut_off=True)] * 3
    with scripted(*broken, end) as server, Runflow(server.url, "rf_live_x") as api:
        assert list(api.events("a"))[-1].is_end
    assert len(server.requests) == 4


def test_a_subscriber_gives_up_at_its_time() -> None:
    run = {"id": "a", "status_code": "queued", "is_terminal": False}
    with (
        scripted(Reply(201, run), Reply(200, text(1), EVENTS)) as server,
        Runflow(server.url, "rf_live_x") as api,
        pytest.raises(RunTimeout, match="a had not ended after 0 s"),
    ):
        api.subscribe("default/portrait", {}, timeout=0)


def test_a_listener_may_leave_early() -> None:
    with scripted(Reply(200, text(1) + text(2), EVENTS)) as server, Runflow(server.url, "rf_live_x") as api:
        assert next(iter(api.events("a"))).number == "1"


def test_what_the_caller_s_function_raises_reaches_the_caller() -> None:
    run = {"id": "a", "status_code": "queued", "is_terminal": False}

    def stop(_: object) -> None:
        raise LookupError("enough")

    with (
        scripted(Reply(201, run), Reply(200, text(1), EVENTS)) as server,
        Runflow(server.url, "rf_live_x") as api,
        pytest.raises(LookupError, match="enough"),
    ):
        api.subscribe("default/portrait", {}, on_event=stop)
