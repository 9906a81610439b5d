"""One run of a captured workflow, and its record: the platform's own shape, so that the same components show both."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..graph import Interface, Prompt, node_title
from .captures import Capture, now

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


class Progress:
    """How far a run is, by the events of ComfyUI: it counts the nodes that are done among those that the run executes.

    Nothing here decides how it ended.
    """

    def __init__(self, prompt: Prompt, executed: set[str]) -> None:
        self.started = False
        self.total = len(executed)
        self._prompt = prompt
        self._executed = executed
        self._done: set[str] = set()
        self._current: str | None = None
        self._steps: tuple[float, float] | None = None

    @property
    def completed(self) -> int:
        """How many nodes are done."""
        return len(self._done)

    def current(self) -> dict[str, Any] | None:
        """The node that works now, and its steps where it counts them (`value` of `max`); None between nodes."""
        if self._current is None:
            return None
        node = self._prompt.get(self._current, {})
        value, most = self._steps or (None, None)
        return {
            "node_id": self._current,
            "node_type": node.get("class_type"),
            "title": node_title(node),
            "value": value,
            "max": most,
        }

    def update(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Take an event of this run. Returns whether the prompt has ended, or is about to."""
        self.started = self.started or kind in ("execution_start", "executing", "progress_state")
        if kind == "execution_cached":
            self._finish(*(data.get("nodes") or ()))
        elif kind == "progress_state":  # since 0.3.45; tells of every node so far, each time
            states = (data.get("nodes") or {}).values()
            self._finish(*(state.get("node_id") for state in states if state.get("state") == "finished"))
        elif kind == "executing":
            self._move(data)
        elif kind == "progress":
            self._step(data)
        elif kind == "executed":
            self._finish(data.get("node"))
        return kind in ENDINGS or (kind == "executing" and data.get("node") is None)

    def _move(self, data: Mapping[str, Any]) -> None:
        self._finish(self._current)
        node = data.get("display_node") or data.get("node")
        self._current, self._steps = (str(node) if node is not None else None), None

    def _step(self, data: Mapping[str, Any]) -> None:
        value, most = data.get("value"), data.get("max")
        node = data.get("node")
        if isinstance(value, (int, float)) and isinstance(most, (int, float)) and most > 0:
            self._current = str(node) if node is not None else self._current
            self._steps = (value, most)

    def _finish(self, *nodes: object) -> None:
        self._done.update(str(node) for node in nodes if str(node) in self._executed)


class Run:
    """A run that this process started. `hint` is set when it is worth looking for its end."""

    def __init__(self, run_id: str, number: int, capture: Capture, values: dict[str, Any]) -> None:
        self.id = run_id
        self.slug = capture.slug
        self.prompt: dict[str, Any] = {}
        self.interface: Interface = capture.interface
        self.progress = Progress({}, set())
        self.hint = asyncio.Event()
        self.cancelling = False
        self.task: asyncio.Task[None] | None = None
        self.preview: tuple[bytes, str] | None = None
        self.previews = 0
        self.captured_prompt = capture.prompt
        self.number = number
        self._captured_at = capture.captured_at
        self._values = values
        self._status = "queued"
        self._created_at = now()
        self._started_at: str | None = None
        self._completed_at: str | None = None
        self._output: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._stage: str | None = None
        self._waiting: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self._status in TERMINAL

    @property
    def is_running(self) -> bool:
        """Whether ComfyUI works on it."""
        return self._status == "running"

    def execute(self, prompt: dict[str, Any], executed: set[str]) -> None:
        """Note what runs: the bound prompt, and which of its nodes are executed."""
        self.prompt = prompt
        self.progress = Progress(prompt, executed)

    def start(self) -> None:
        """Note that ComfyUI works on it."""
        if self._status == "queued":
            self._status, self._started_at, self._waiting = "running", now(), None

    def show(self, picture: bytes, media_type: str) -> None:
        """Note what the sampler shows of its work."""
        self.preview = picture, media_type
        self.previews += 1

    def wait(self, reason: str | None) -> None:
        """Note why it does not run yet."""
        if self._status == "queued":
            self._waiting = reason

    def succeed(self, output: dict[str, Any]) -> None:
        """Note its files."""
        self._output = output
        self._end("succeeded")

    def fail(self, error: dict[str, Any], stage: str) -> None:
        """Note why it failed, and in which stage."""
        self._error, self._stage = error, stage
        self._end("failed")

    def cancel(self) -> None:
        """Note that it was stopped."""
        self._end("cancelled")

    def describe(self) -> dict[str, Any]:
        """The run's record (docs/api/runs.md, "Reading"), and beside it `slug`, `number`, `captured_at`,
        `progress` (the node that works now), `preview_url` and `cancelling`.
        """
        error = self._error
        return {
            "id": self.id,
            "target_type": "comfyui_workflow",
            "source_code": "playground",
            "slug": self.slug,
            "number": self.number,
            "captured_at": self._captured_at,
            "status_code": self._status,
            "is_terminal": self.is_terminal,
            "cancelling": self.cancelling and not self.is_terminal,
            "waiting_reason": self._waiting,
            "input": self._values,
            "output": self._output,
            "error": error,
            "failure_code": error["code"] if error else None,
            "failure_message": error["message"] if error else None,
            "failure_stage_code": self._stage,
            "nodes_total": self.progress.total,
            "nodes_completed": self.progress.total if self._status == "succeeded" else self.progress.completed,
            "progress": self.progress.current() if self._status == "running" else None,
            "preview_url": self._preview_url(),
            "created_at": self._created_at,
            "started_at": self._started_at,
            "completed_at": self._completed_at,
            "duration_ms": _milliseconds(self._started_at, self._completed_at),
        }

    def _end(self, status: str) -> None:
        self._status, self._waiting, self._completed_at = status, None, now()
        self._started_at = self._started_at or (self._completed_at if status == "succeeded" else None)
        self.prompt, self.preview = {}, None  # only the record is kept

    def _preview_url(self) -> str | None:
        return f"runflow/playground/runs/{self.id}/preview?number={self.previews}" if self.preview else None


def _milliseconds(start: str | None, end: str | None) -> int | None:
    if start is None or end is None:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * 1000)
