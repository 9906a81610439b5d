"""What webhooks can subscribe to: the fixed table behind `event_type_code`."""

from dataclasses import dataclass
from typing import Any

from runflow.deliveries.messages import BatchEvent, EvaluationEvent, GoldenEvent, RunEvent

_AT = {"created_at": "2026-11-22T03:59:19.205406+00:00", "completed_at": "2026-11-22T03:59:19.953676+00:00"}
_RUN = {"run_id": "01a20112-7e65-7b3c-9f0a-5d1f6c2b8e44"}
_BATCH = {"batch_id": "01a20112-9b01-7c55-8a3e-0b7e5ad4c210"}
_EVALUATION = {"evaluation_id": "01a20113-0c4d-7a10-b6ce-64f08c2f9b77", **_RUN}
_GOLDEN = {
    "golden_run_id": "01a20114-2b1e-7d03-8f55-6c1f0e9a7d31",
    "comfyui_workflow_id": "01a20110-51c8-7e0a-a3b4-f2d96c0e1b87",
}
_FILE = {
    "output_id": "picture",
    "url": "https://runflow.example.com/v1/storage/…",
    "content_type": "image/png",
    "size_bytes": 183204,
    "filename": "picture.png",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "width": 1024,
    "height": 1024,
    "node_id": "9",
}
_ERROR = {
    "code": "OUT_OF_MEMORY",
    "message": 'Node 4 "Sampler" (KSampler) ran out of memory. Lower the size, or run it on a larger GPU.',
    "node_id": "4",
    "node_type": "KSampler",
    "details": None,
}


@dataclass(frozen=True, slots=True)
class EventType:
    """One row of the table, with the wire's names; `payload` is an example of what is sent."""

    code: str
    name: str
    description: str
    payload: dict[str, Any]


def _run(event: RunEvent, name: str, description: str, status: str, output: dict[str, Any] | None) -> EventType:
    facts = {"workflow": "default/square", "client_ref": "ticket-4821", "output": output, "duration_ms": 748}
    payload = {"event": event.value, **_RUN, "status": status, **facts, **_AT, "metadata": {"order": 7}}
    return EventType(event.value, name, description, payload)


def _batch(event: BatchEvent, name: str, description: str, succeeded: int, failed: int, cancelled: int) -> EventType:
    counts = {"succeeded": succeeded, "failed": failed, "cancelled": cancelled, "total": 2}
    facts = {"workflow": "default/square", "output": {"items": [], **counts}, "duration_ms": 748}
    status = event.value.removeprefix("batch.")
    payload = {"event": event.value, **_BATCH, "status": status, **facts, **_AT, "metadata": None}
    return EventType(event.value, name, description, payload)


def _evaluation(event: EvaluationEvent, name: str, description: str, output: dict[str, Any]) -> EventType:
    facts = {"client_ref": None, "output": output, "duration_ms": 112}
    status = event.value.removeprefix("evaluation.")
    payload = {"event": event.value, **_EVALUATION, "status": status, **facts, **_AT, "metadata": None}
    return EventType(event.value, name, description, payload)


def _golden(event: GoldenEvent, name: str, description: str, reasons: list[dict[str, Any]]) -> EventType:
    facts = {"workflow": "default/square", "version": "4", "output": {"reasons": reasons}}
    status = event.value.removeprefix("golden_run.")
    payload = {"event": event.value, **_GOLDEN, "status": status, **facts, **_AT, "metadata": None}
    return EventType(event.value, name, description, payload)


def _why(code: str, message: str, example: str | None = None) -> list[dict[str, Any]]:
    return [{"code": code, "message": message, "example": example, "run_id": _RUN["run_id"] if example else None}]


EVENT_TYPES: dict[str, EventType] = {
    row.code: row
    for row in (
        _run(RunEvent.COMPLETED, "Run completed", "A run succeeded; `output` lists its files.", "succeeded",
             {"kind": "comfyui_outputs", "outputs": [_FILE]}),
        _run(RunEvent.FAILED, "Run failed", "A run failed for good; `output` is its error.", "failed", _ERROR),
        _run(RunEvent.CANCELLED, "Run cancelled", "A run was cancelled; `output` is null.", "cancelled", None),
        _batch(BatchEvent.SUCCEEDED, "Batch succeeded", "Every item of a batch succeeded.", 2, 0, 0),
        _batch(BatchEvent.PARTIAL_SUCCEEDED, "Batch partially succeeded",
               "A batch ended with some items that succeeded and some that did not.", 1, 1, 0),
        _batch(BatchEvent.FAILED, "Batch failed", "A batch ended and no item succeeded.", 0, 2, 0),
        _batch(BatchEvent.CANCELLED, "Batch cancelled", "A batch was cancelled.", 0, 0, 2),
        _evaluation(EvaluationEvent.COMPLETED, "Evaluation completed", "An evaluation has a verdict.",
                    {"overall_passed": True, "weighted_pass_rate": 0.97}),
        _evaluation(EvaluationEvent.FAILED, "Evaluation failed", "An evaluation could not be made.",
                    {"code": "INPUT_FETCH_FAILED", "message": "The image could not be fetched. Check its URL."}),
        _golden(GoldenEvent.PASSED, "Golden run passed", "A new version ran all examples, and serves from now on.", []),
        _golden(GoldenEvent.FAILED, "Golden run failed", "A new version failed its examples and does not serve.",
                _why("OUT_OF_MEMORY", f'Example "two-people" failed: {_ERROR["message"]}', "two-people")),
        _golden(GoldenEvent.CANCELLED, "Golden run cancelled", "The test of a new version was stopped.",
                _why("CANCELLED", "It was cancelled by a caller.")),
        _golden(GoldenEvent.SUPERSEDED, "Golden run superseded",
                "Something newer was decided about the workflow while a version was tested.",
                _why("SUPERSEDED", "A newer version of the workflow was made, promoted or put to the test meanwhile.")),
    )
}  # fmt: skip
"""Every event type by its code."""
