"""From a history entry to the end of a prompt: the engine's own, or what its messages told in full (`told`)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import structlog

from runflow.protocol.failures import FailureCode
from runflow.worker.clock import CLOCK
from runflow.worker.engine.base import AnswerTooLarge
from runflow.worker.engine.execution import Execution, ModelLoads, NodeError, Outcome, Prompt
from runflow.worker.engine.failures import read_execution_error
from runflow.worker.engine.tracker import Tracker

log = structlog.get_logger(__name__)

CLOCK_TOLERANCE_MS = 1000.0
"""What the engine measured may be so much more than what we saw of it: its messages are on their way for a while."""
_PEAK = "runflow_peak_memory_bytes"
"""The plugin's, in the message about the end (plugin/peak_memory.py)."""
_MOST_BYTES = 2**60
_LOADS = "runflow_model_loads"
"""The same of what the prompt loaded (plugin/model_loads.py)."""
_MOST_LOADS = 1000
_LONGEST_TEXT = 20_000
"""Of what a node raised, in the operator's log."""
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


def read_history(entry: Mapping[str, Any], tracker: Tracker, prompt_id: str, hidden: tuple[str, ...]) -> Execution:
    """Read how a prompt ended. The raw error goes to the operator's log, the cleaned one into the result."""
    status = entry.get("status") or {}
    messages = dict(_pairs(status.get("messages")))
    now = CLOCK.now()
    error: NodeError | None = None
    if "execution_interrupted" in messages:
        outcome = Outcome.INTERRUPTED
    elif status.get("status_str") == "error" or "execution_error" in messages:
        outcome = Outcome.FAILED
        data = messages.get("execution_error", {})
        _log_raw(prompt_id, data)
        error = read_execution_error(data, tracker.prompt, hidden)
        tracker.take("execution_error", data)
    else:
        outcome = Outcome.SUCCEEDED
    execute_ms = _measured(messages, tracker, now)
    return Execution(
        outcome=outcome,
        outputs=_outputs(entry.get("outputs") or {}, tracker.prompt),
        nodes=tracker.timings(ended_well=outcome is Outcome.SUCCEEDED, at=now),
        error=error,
        execute_ms=execute_ms,
        started_at=tracker.started_at,
        finished_at=now,
        peak_memory_bytes=_peak(messages),
        loads=_loads(messages, execute_ms),
    )


def rejected(error: NodeError) -> Execution:
    """Return the end of a prompt that the engine refused."""
    return Execution(Outcome.FAILED, {}, (), error, 0.0, None, CLOCK.now(), rejected=True)


def told_too_much(error: AnswerTooLarge, tracker: Tracker) -> Execution:
    """Return the end of a prompt whose nodes told of more than is read: it would be no less the next time."""
    now = CLOCK.now()
    elapsed = (now - tracker.started_at) * 1000 if tracker.started_at else 0.0
    told = NodeError(
        FailureCode.EXECUTION_FAILED,
        f"The outputs that the workflow's nodes report are too much: {error}",
        "Let the node save it as a file, and return that file.",
    )
    nodes = tracker.timings(ended_well=True, at=now)
    return Execution(Outcome.FAILED, {}, nodes, told, elapsed, tracker.started_at, now)


def interrupted(tracker: Tracker) -> Execution:
    """Return the end of a prompt that was taken out of the queue, or stopped without leaving a history entry."""
    now = CLOCK.now()
    elapsed = (now - tracker.started_at) * 1000 if tracker.started_at else 0.0
    nodes = tracker.timings(ended_well=False, at=now)
    return Execution(Outcome.INTERRUPTED, {}, nodes, None, elapsed, tracker.started_at, now)


def _pairs(messages: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, list) and len(message) == 2 and isinstance(message[1], Mapping):
                yield str(message[0]), message[1]


def _outputs(outputs: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Return the outputs, with those of its twin for a node that has none.

    ComfyUI runs one of two nodes with the same class and inputs and reports null for the other.
    """
    found = {node_id: output for node_id, output in outputs.items() if output}
    for node_id in outputs.keys() - found.keys():
        node = prompt.get(node_id)
        twin = next((other for other in found if node is not None and _same(prompt.get(other), node)), None)
        if twin is not None:
            found[node_id] = found[twin]
    return found


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and all(one.get(key) == other.get(key) for key in ("class_type", "inputs"))


def _measured(messages: Mapping[str, Mapping[str, Any]], tracker: Tracker, now: float) -> float:
    """Return the engine's own measure in milliseconds, or ours where it keeps none or its clock was set meanwhile."""
    ours = (now - tracker.started_at) * 1000 if tracker.started_at else None
    start = messages.get("execution_start", {}).get("timestamp")
    end = next((messages[kind].get("timestamp") for kind in _ENDS if kind in messages), None)
    if isinstance(start, int | float) and isinstance(end, int | float):
        told = float(end - start)
        if 0 <= told <= (told if ours is None else ours + CLOCK_TOLERANCE_MS):
            return told
    return ours or 0.0


def _peak(messages: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Return the most memory that the prompt needed, as far as the plugin tells. Nodes could tell anything, too."""
    peak = _at_end(messages, _PEAK)
    return peak if isinstance(peak, int) and 0 < peak < _MOST_BYTES else None


def _loads(messages: Mapping[str, Mapping[str, Any]], most_ms: float) -> ModelLoads | None:
    """Return how long the prompt loaded models, as far as the plugin tells: no longer than it took in all."""
    told = _at_end(messages, _LOADS)
    total, nodes = (told.get("ms"), told.get("nodes")) if isinstance(told, Mapping) else (None, None)
    if not _is_duration(total):
        return None
    known = list(nodes.items())[:_MOST_LOADS] if isinstance(nodes, Mapping) else []
    by_node = {str(node): min(most_ms, spent) for node, spent in known if _is_duration(spent)}
    return ModelLoads(min(most_ms, total), by_node)


def _is_duration(told: object) -> TypeGuard[float]:
    return isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < math.inf


def _at_end(messages: Mapping[str, Mapping[str, Any]], field: str) -> Any:
    """Return what the plugin has added to the message about the prompt's end."""
    return next((messages[kind].get(field) for kind in _ENDS if kind in messages), None)


def _log_raw(prompt_id: str, data: Mapping[str, Any]) -> None:
    log.warning(
        "a node raised",
        prompt_id=prompt_id,
        node_id=data.get("node_id"),
        node_type=data.get("node_type"),
        exception_type=data.get("exception_type"),
        exception_message=str(data.get("exception_message"))[:_LONGEST_TEXT],
        traceback="".join(map(str, data.get("traceback") or []))[-_LONGEST_TEXT:],
    )
