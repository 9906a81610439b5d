"""Records are what the server sent: typed where they are known, open to what is new."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from runflow.client.records import Event, Run, Workflow
from runflow.runs.schemas import RUN_EXAMPLE


def test_a_run_of_the_reference_is_read() -> None:
    run = Run({**RUN_EXAMPLE, "finished_at": "later", "queue_position": 3})
    assert run["finished_at"] == "later" and run.queue_position == 3, "a field of a newer server"
    assert (run.model, run.output, run.error) == (run["model"], run["output"], None)
    assert run.cost == Decimal("0.004382") and run.created_at == datetime(2026, 1, 31, 10, 0, 0, 120000, UTC)
    assert (run.outputs[0].width, run.outputs[0].output_id) == (1024, "picture")
    assert json.loads(json.dumps(run)) == run


def test_what_an_older_server_leaves_out_is_none_and_what_must_be_there_is_named() -> None:
    run = Run({"id": "a", "output": None})
    assert (run.cost, run.waiting_reason, run.outputs) == (None, None, [])
    with pytest.raises(AttributeError, match="Run came without 'status_code'"):
        _ = run.status_code
    with pytest.raises(AttributeError, match="cannot be set"):
        run.id = "b"
    assert not hasattr(run, "status_code")
    assert Workflow({"path": "a/b"}).inputs == []


def test_an_event_tells_how_far_the_run_is() -> None:
    assert Event("1", "progress", {"nodes_completed": 1, "nodes_total": 4, "value": 5, "max": 10}).fraction == 0.375
    assert Event("1", "progress", {"nodes_completed": 4, "nodes_total": 4, "value": 9, "max": 3}).fraction == 1.0
    assert Event("1", "log", {"message": "x"}).fraction is None
    assert Event("1", "status", {"is_terminal": True}).is_end
    assert not Event("1", "log", {"is_terminal": True}).is_end
