"""Messages as JSON: what is written is read again, and what is not a message is named."""

import contextlib
import uuid
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from runflow.protocol.codec import NotAMessage, as_fields, from_wire, to_wire
from runflow.protocol.completions import Completion, CompletionAnswer, Output, Timings
from runflow.protocol.events import Event, NodeRun, NodeState
from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.protocol.leases import Heartbeat, HeartbeatAnswer, Lease, LeaseRequest
from runflow.protocol.outputs import Uploads, UploadsAnswer
from runflow.protocol.workers import Registered, Registration

MESSAGES: tuple[type[Any], ...] = (
    *(Registration, LeaseRequest, Heartbeat, Uploads, Completion),
    *(Registered, Lease, HeartbeatAnswer, UploadsAnswer, CompletionAnswer),
)
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMPLETION = Completion(
    protocol_version=1,
    worker_id=uuid.uuid4(),
    instance=uuid.uuid4(),
    result="failed",
    outputs=[
        Output(
            ordinal=0,
            filename="a.png",
            content_type="image/png",
            size_bytes=3,
            output_id="picture",
            node_id="9",
            object_key="runs/a/b/0-a.png",
            sha256="0" * 64,
        )
    ],
    error=Failure(FailureCode.OUT_OF_MEMORY, Stage.EXECUTE, "It is full. Use less.", details={"free": [1, 2.5, None]}),
    timings=Timings(started_at=AT, execute_ms=7),
    nodes=[NodeRun(node_id="9", node_type="Save", state_code=NodeState.FAILED, started_at=AT)],
    events=[Event(number=1, type="log", at=AT, data={"message": "x"})],
)


def test_both_sides_read_what_is_written() -> None:
    data = orjson.loads(to_wire(COMPLETION))
    assert from_wire(Completion, data) == COMPLETION
    assert TypeAdapter(Completion).validate_python(data) == COMPLETION
    assert data["events"][0]["at"] == "2026-01-01T12:00:00+00:00"


def test_a_field_that_is_not_known_is_passed_over_and_one_with_a_default_may_be_missing() -> None:
    data = {"run_id": str(uuid.uuid4()), "status_code": "queued", "brand_new": 1}
    assert from_wire(CompletionAnswer, data).status_code == "queued"
    assert from_wire(UploadsAnswer, {}).uploads == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"result": "lost"}, "result: is 'lost', not one of cancelled, failed, released, succeeded"),
        ({"worker_id": "RUN"}, "worker_id: is 'RUN', which is no UUID"),
        ({"worker_id": 7}, "worker_id: is int, not UUID"),
        ({"protocol_version": True}, "protocol_version: is bool, not int"),
        ({"outputs": {}}, "outputs: is dict, not a list"),
        ({"outputs": [{"ordinal": 0}]}, "outputs: filename: is missing (Output)"),
        (
            {"error": {"code": "NEW", "stage": "execute", "message": ""}},
            "error: code: is 'NEW', which is no FailureCode",
        ),
        ({"timings": None}, "timings: is null, not an object (Timings)"),
        (
            {"events": [{"number": 1, "type": "log", "at": "soon", "data": {}}]},
            "events: at: is 'soon', which is no datetime",
        ),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    data = {**orjson.loads(to_wire(COMPLETION)), **change}
    with pytest.raises(NotAMessage) as wrong:
        from_wire(Completion, data)
    assert str(wrong.value) == said


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: str(kind.__name__))
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_no_answer_raises_anything_else(kind: type[Any], data: Any) -> None:
    names = [field.name for field in fields(kind)]
    for document in (data, dict.fromkeys(names, data)):
        with contextlib.suppress(NotAMessage):
            from_wire(kind, document)


def test_fields_are_shallow() -> None:
    assert as_fields(COMPLETION)["timings"] is COMPLETION.timings
