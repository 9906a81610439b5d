"""How long a prompt took, where the engine's clock is set while it executes, and how much memory it needed."""

from typing import Any

import pytest

from runflow.worker.clock import CLOCK
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
