from datetime import UTC, datetime

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runflow.protocol.codec import to_wire
from runflow.protocol.events import Event, NodeState
from runflow.worker.attempts.report import Report
from runflow.worker.engine.execution import ModelLoads
from tests.support.fake_server import PROMPT


def test_events_are_numbered_from_one_and_sent_again_until_delivered() -> None:
    report = Report(PROMPT)
    report.running(1.0)
    first = report.take()
    assert [event.number for event in first] == [1]
    assert first[0].data == {"status_code": "running"}
    report.log("info", "hello", 2.0)
    again = report.take()
    assert again[0] == first[0]
    assert [event.number for event in again] == [1, 2]
    report.delivered(first)
    assert [event.number for event in report.take()] == [2]
    report.delivered(again)
    assert report.take() == []
    assert not report.waiting


def test_only_the_last_progress_between_two_sendings_is_told() -> None:
    report = Report(PROMPT)
    for step in range(1, 21):
        report.progress("1", step, 20, float(step))
    events = report.take()
    assert [event.data["value"] for event in events] == [20]
    assert events[0].data == {
        "value": 20,
        "max": 20,
        "node_id": "1",
        "node_type": "EmptyImage",
        "nodes_completed": 0,
        "nodes_total": 2,
    }
    report.progress("1", 3, 20, 30.0)
    assert [event.data["value"] for event in report.take()] == [20, 3]


def test_nodes_that_lead_to_no_output_do_not_count() -> None:
    dead = {
        "20": {"class_type": "Note", "inputs": {"text": "x"}},
        "21": {"class_type": "Blur", "inputs": {"image": ["1", 0]}},
    }
    report = Report(PROMPT)
    report.use_prompt({**PROMPT, **dead}, frozenset({PROMPT["9"]["class_type"]}))
    report.node_finished("1", 1.0)
    assert [event.data["nodes_total"] for event in report.take() if event.type == "progress"] == [2]
    report.use_prompt({**PROMPT, **dead}, frozenset({"SomethingElse"}))
    report.node_started("9", 1.0)
    report.progress("9", 1, 2, 1.0)
    assert report.take()[-1].data["nodes_total"] == 4, "not known: all count"


def test_a_run_that_succeeded_has_nothing_left_to_do() -> None:
    """Of twins ComfyUI executes one, and a lazy input is never asked for: neither is ever told to be done."""
    report = Report(PROMPT)
    report.node_finished("1", 1.0)
    report.succeeded(2.0)
    progress = [event.data for event in report.take() if event.type == "progress"]
    assert (progress[-1]["nodes_completed"], progress[-1]["nodes_total"]) == (1, 1)
    report.succeeded(3.0)
    assert report.take()[-1].data == progress[-1], "said once"


def test_a_node_that_begins_and_ends_between_two_sendings_is_one_event() -> None:
    report = Report(PROMPT)
    report.node_started("1", 1.0)
    report.node_finished("1", 1.25)
    report.node_started("9", 1.25)
    first, progress, second = report.take()
    assert (first.data["node_id"], first.data["state_code"], first.data["duration_ms"]) == (
        "1",
        "succeeded",
        250,
    )
    assert (progress.data["nodes_completed"], progress.data["nodes_total"]) == (1, 2)
    assert (second.data["node_id"], second.data["state_code"]) == ("9", "running")
    report.node_finished("9", 1.5)
    *_, last_node, last_progress = report.take()
    assert last_node.data["title"] == "Result"
    assert last_progress.data["nodes_completed"] == 2


def test_nodes_carry_states_times_and_the_reason_of_a_failure() -> None:
    report = Report(PROMPT)
    report.node_finished("1", 5.0, NodeState.CACHED)
    report.node_started("9", 5.0)
    report.node_finished("9", 5.5, NodeState.FAILED)
    report.node_failed("9", 5.6, "no disk")
    cached, broken = report.nodes()
    assert (cached.state_code, cached.duration_ms) == ("cached", 0)
    assert (broken.state_code, broken.duration_ms, broken.error_message) == ("failed", 500, "no disk")
    assert broken.started_at == datetime.fromtimestamp(5, UTC)
    assert orjson.loads(to_wire(broken))["started_at"].endswith("+00:00")


def test_nodes_still_running_at_the_end_failed() -> None:
    report = Report(PROMPT)
    report.node_started("1", 1.0)
    report.end_running(2.0, "The engine crashed.")
    assert report.nodes()[0].error_message == "The engine crashed."


ACTIONS = st.lists(st.sampled_from(["progress", "node", "log", "take", "deliver"]), max_size=40)


@given(ACTIONS)
def test_whatever_happens_each_number_is_given_once_and_none_is_left_out(actions: list[str]) -> None:
    report = Report(PROMPT)
    told: dict[int, object] = {}
    sent: list[Event] = []
    for at, action in enumerate(actions):
        if action == "progress":
            report.progress("1", at, 100, float(at))
        elif action == "node":
            report.node_started("1", float(at))
            report.node_finished("1", float(at))
        elif action == "log":
            report.log("info", str(at), float(at))
        elif action == "take":
            sent = report.take()
            for event in sent:
                number = event.number
                assert isinstance(number, int)
                assert told.setdefault(number, event) == event
        else:
            report.delivered(sent)
    for event in report.take():
        told.setdefault(event.number, event)
    assert sorted(told) == list(range(1, len(told) + 1))


def test_a_node_loads_no_longer_than_it_takes_and_nothing_is_said_where_nobody_measured() -> None:
    report = Report(PROMPT)
    report.node_started("1", 10.0)
    report.node_finished("1", 10.5)
    report.node_started("9", 10.5)
    report.loaded_models(None)
    assert [node.load_ms for node in report.nodes()] == [None, None]
    report.loaded_models(ModelLoads(700, {"1": 900.0, "9": 200.4, "foreign": 1.0}))
    assert [node.load_ms for node in report.nodes()] == [500, 200]
    report.loaded_models(ModelLoads(0, {}))
    assert [node.load_ms for node in report.nodes()] == [0, 0]
