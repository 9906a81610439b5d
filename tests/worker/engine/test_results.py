"""How long a prompt took, where the engine's clock is set while it executes, and what the plugin told of it."""

from typing import Any

import pytest

from runflow.worker.clock import CLOCK
from runflow.worker.engine.execution import ModelLoads
from runflow.worker.engine.results import read_history
from runflow.worker.engine.tracker import Tracker


def ended(start: float, end: float) -> dict[str, Any]:
    messages = [["execution_start", {"timestamp": start}], ["execution_success", {"timestamp": end}]]
    return {"status": {"status_str": "success", "messages": messages}, "outputs": {}}


@pytest.mark.parametrize("end", [1000.0 - 3_500_000, 1000.0 + 3_600_000], ids=["back", "forward"])
async def test_a_clock_that_was_set_is_not_believed(end: float) -> None:
    tracker = Tracker({}, None)
    tracker.started_at = CLOCK.now() - 2
    took = read_history(ended(1000.0, end), tracker, "p", ()).execute_ms
    assert 2000 <= took < 3_600_000


async def test_the_engines_own_measure_is_used_where_it_can_be_true() -> None:
    tracker = Tracker({}, None)
    assert read_history(ended(1000.0, 1004.0), tracker, "p", ()).execute_ms == 4
    assert read_history(ended(1004.0, 1000.0), tracker, "p", ()).execute_ms == 0
    tracker.started_at = CLOCK.now() - 2
    assert read_history(ended(1000.0, 1004.0), tracker, "p", ()).execute_ms == 4


@pytest.mark.parametrize(
    ("told", "known"), [(3 * 2**30, 3 * 2**30), (None, None), ("much", None), (-1, None), (2**70, None), (1.5, None)]
)
async def test_the_peak_of_its_memory_is_what_the_plugin_told(told: object, known: int | None) -> None:
    entry = ended(1000.0, 1004.0)
    entry["status"]["messages"][1][1]["runflow_peak_memory_bytes"] = told
    assert read_history(entry, Tracker({}, None), "p", ()).peak_memory_bytes == known


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ({"ms": 3, "nodes": {"4": 2, "5": 1}}, ModelLoads(3, {"4": 2, "5": 1})),
        ({"ms": 0, "nodes": {}}, ModelLoads(0, {})),
        ({"ms": 9000, "nodes": {"4": 9000, "5": -1, "6": "x", "7": True}}, ModelLoads(4, {"4": 4})),
        ({"ms": 2, "nodes": ["4"]}, ModelLoads(2, {})),
        (None, None),
        (7, None),
        ({"ms": "much"}, None),
        ({"ms": -1}, None),
        ({"ms": True}, None),
        ({"ms": float("inf")}, None),
    ],
)
async def test_what_was_loaded_is_what_the_plugin_told_and_no_longer_than_the_prompt(
    told: object, known: ModelLoads | None
) -> None:
    entry = ended(1000.0, 1004.0)
    entry["status"]["messages"][1][1]["runflow_model_loads"] = told
    assert read_history(entry, Tracker({}, None), "p", ()).loads == known


async def test_no_more_nodes_are_read_than_the_plugin_tells() -> None:
    entry = ended(1000.0, 1004.0)
    nodes = {str(number): 1 for number in range(5000)}
    entry["status"]["messages"][1][1]["runflow_model_loads"] = {"ms": 4, "nodes": nodes}
    loads = read_history(entry, Tracker({}, None), "p", ()).loads
    assert loads is not None and len(loads.by_node) == 1000
