"""The messages of one prompt, as recorded, read into events and timings."""

from runflow.protocol.events import NodeState
from runflow.worker.engine.execution import EngineEvent, EventKind
from runflow.worker.engine.tracker import MOST_NODES, Tracker

PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": "Save it"}},
}


def state(node_id: str, value: str, real: str | None = None) -> dict[str, object]:
    return {"node_id": real or node_id, "display_node_id": node_id, "state": value, "value": 0, "max": 1}


async def test_progress_states_give_starts_and_ends() -> None:
    events: list[EngineEvent] = []
    tracker = Tracker(PROMPT, events.append)
    tracker.take("execution_start", {})
    tracker.take("execution_cached", {"nodes": []})
    tracker.take("progress_state", {"nodes": {"1": state("1", "running")}})
    tracker.take("executing", {"node": "1", "display_node": "1"})
    tracker.take("progress_state", {"nodes": {"1": state("1", "finished")}})
    tracker.take("progress_state", {"nodes": {"1": state("1", "finished"), "2": state("2", "running")}})
    tracker.take("executed", {"node": "2", "display_node": "2", "output": None})
    tracker.take("executing", {"node": None})
    assert tracker.done.done()
    assert [(event.kind, event.node_id, event.nodes_done) for event in events[1:]] == [
        (EventKind.NODE_STARTED, "1", 0),
        (EventKind.NODE_FINISHED, "1", 1),
        (EventKind.NODE_STARTED, "2", 1),
        (EventKind.NODE_FINISHED, "2", 2),
    ]
    timings = tracker.timings(ended_well=True, at=0)
    assert [(timing.node_type, timing.title) for timing in timings] == [
        ("EmptyImage", "EmptyImage"),
        ("SaveImage", "Save it"),
    ]


async def test_before_0_3_45_the_next_node_ends_the_one_before() -> None:
    tracker = Tracker(PROMPT, None)
    tracker.take("executing", {"node": "1"})
    tracker.take("executing", {"node": "2"})
    first, second = tracker.timings(ended_well=False, at=0)
    assert (first.state, second.state) == (NodeState.SUCCEEDED, NodeState.RUNNING)
    assert second.duration_ms is None


async def test_nodes_that_a_node_expands_into_count_for_it() -> None:
    tracker = Tracker(PROMPT, None)
    tracker.take("progress_state", {"nodes": {"1": state("1", "running")}})
    tracker.take("progress_state", {"nodes": {"1.0": state("1", "finished", "1.0")}})
    (timing,) = tracker.timings(ended_well=False, at=0)
    assert (timing.node_id, timing.state) == ("1", NodeState.RUNNING)


async def test_a_failed_node_is_told_once() -> None:
    events: list[EngineEvent] = []
    tracker = Tracker(PROMPT, events.append)
    tracker.take("executing", {"node": "2"})
    for _ in range(2):  # from the socket, and again from the history
        tracker.take("execution_error", {"node_id": "2"})
    assert [event.state for event in events] == [None, NodeState.FAILED]


async def test_unknown_and_odd_messages_do_nothing() -> None:
    tracker = Tracker(PROMPT, None)
    tracker.take("crystools.monitor", {"cpu": 3})
    tracker.take("progress", {"value": None, "max": "x"})
    tracker.take("progress_state", {"nodes": None})
    tracker.take("execution_cached", {"nodes": None})
    assert tracker.timings(ended_well=True, at=0) == ()


async def test_a_node_cannot_make_its_worker_follow_any_number_of_nodes() -> None:
    events: list[EngineEvent] = []
    tracker = Tracker(PROMPT, events.append)
    for number in range(MOST_NODES + 50):
        tracker.take("executing", {"node": f"n{number}"})
        tracker.take("progress", {"node": f"n{number}", "value": 1, "max": 2})
    for strange in ("", "x" * 100_000, 7, True):
        tracker.take("executing", {"node": strange})
        tracker.take("execution_cached", {"nodes": [strange]})
        tracker.take("execution_error", {"node_id": strange})
    assert len(tracker.timings(ended_well=False, at=0)) == MOST_NODES
    assert {len(event.node_id or "") for event in events} <= set(range(2, 7))
