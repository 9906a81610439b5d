from typing import Any

import pytest

from plugin.playground.run import Progress

PROMPT: dict[str, Any] = {
    "1": {"class_type": "Load", "inputs": {}},
    "2": {"class_type": "Sample", "inputs": {}, "_meta": {"title": "The sampler"}},
    "3": {"class_type": "Save", "inputs": {}},
}


def test_nodes_and_steps_are_counted() -> None:
    progress = Progress(PROMPT, {"1", "2", "3"})
    assert not progress.started
    assert not progress.update("execution_start", {})
    progress.update("execution_cached", {"nodes": ["1", "99"]})
    progress.update("executing", {"node": "2", "display_node": "2"})
    progress.update("progress", {"node": "2", "value": 3, "max": 20})
    assert (progress.started, progress.completed, progress.total) == (True, 1, 3)
    assert progress.current() == {"node_id": "2", "node_type": "Sample", "title": "The sampler", "value": 3, "max": 20}
    progress.update("executing", {"node": "3"})
    assert progress.completed == 2
    assert progress.update("executing", {"node": None})
    assert (progress.completed, progress.current()) == (3, None)


def test_states_of_newer_versions_count_too() -> None:
    progress = Progress(PROMPT, {"1", "2", "3"})
    states = {"1": {"node_id": "1", "state": "finished"}, "2": {"node_id": "2", "state": "running"}}
    progress.update("progress_state", {"nodes": states})
    assert progress.completed == 1


@pytest.mark.parametrize("data", [{}, {"value": None, "max": 0}, {"value": "x", "max": "y", "node": 7}])
def test_odd_events_do_no_harm(data: dict[str, Any]) -> None:
    progress = Progress(PROMPT, {"1"})
    for kind in ("progress", "progress_state", "execution_cached", "executed", "unknown"):
        progress.update(kind, data)
    assert progress.completed == 0
