"""One prompt in flight: what its messages have told so far."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from runflow.protocol.events import NodeState
from runflow.worker.clock import CLOCK
from runflow.worker.engine.execution import EngineEvent, EventKind, NodeTiming, OnEvent, Prompt, node_title
from runflow.worker.engine.previews import Preview
from runflow.worker.engine.told import Told

MOST_NODES = 10_000
"""Of a prompt, those included that its nodes add while they execute: a completion names no more."""
_LONGEST_ID = 200


class Tracker:
    """Follows the messages of one prompt, keeps node timings, and passes events on.

    `done` is set when a message said that the prompt has ended, or when whoever looks at the history found so. How it
    ended the history says, or `told`: then it is over as soon as it succeeded, before the engine has written that down.
    `engine_id` is None until the engine has taken the prompt, `client_id` while no socket tells about it; `heard_at`
    and `asked_at` are monotonic seconds, `missed` counts the times that the engine knew nothing of it.
    """

    def __init__(self, prompt: Prompt, on_event: OnEvent | None) -> None:
        self.prompt = prompt
        self.told = Told()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.engine_id: str | None = None
        self.client_id: str | None = None
        self.heard_at = time.monotonic()
        self.asked_at = 0.0
        self.missed = 0
        self.started_at: float | None = None
        self._on_event = on_event
        self._started: dict[str, float] = {}
        self._finished: dict[str, tuple[NodeState, float]] = {}
        self._states_told = False
        self._count = 0
        """How many nodes there were so far."""
        self._handlers = {
            "execution_start": self._execution_start,
            "execution_cached": self._execution_cached,
            "progress_state": self._progress_state,
            "executing": self._executing,
            "progress": self._progress,
            "executed": self._executed,
            "execution_error": self._execution_error,
        }

    def take(self, kind: str, data: Mapping[str, Any], size: int = 0) -> None:
        """Take one message of this prompt, of so many characters."""
        self.heard_at = time.monotonic()
        self.told.take(kind, data, size)
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(data, CLOCK.now())
        if kind == "execution_success" and self.told.entry is not None:
            self.finish()

    def show(self, preview: Preview) -> None:
        """Take a picture of what a node is working on; where the engine does not say which, the last that began."""
        self.heard_at = time.monotonic()
        open_ids = [node_id for node_id in self._started if node_id not in self._finished]
        node_id = preview.node_id or (open_ids[-1] if open_ids else None)
        if self._on_event is not None and node_id is not None:
            self._on_event(EngineEvent(EventKind.PREVIEW, time.time(), node_id, preview=preview))

    def finish(self) -> None:
        """Say that the prompt has ended."""
        if not self.done.done():
            self.done.set_result(None)

    def goes_on(self) -> None:
        """Take back that the prompt has ended: a message said so that was not true."""
        self.done = asyncio.get_running_loop().create_future()
        self.told.doubt()

    def fail(self, error: Exception) -> None:
        """Say that the prompt's end will never be known."""
        if not self.done.done():
            self.done.set_exception(error)

    def timings(self, *, ended_well: bool, at: float) -> tuple[NodeTiming, ...]:
        """Return every node's turn, in the order of their ends; a node still open gets the prompt's end."""
        if ended_well:
            for node_id in [node_id for node_id in self._started if node_id not in self._finished]:
                self._end(node_id, NodeState.SUCCEEDED, at)
        ended = [self._timing(node_id, state, end) for node_id, (state, end) in self._finished.items()]
        still = [node_id for node_id in self._started if node_id not in self._finished]
        return (*ended, *(self._timing(node_id, NodeState.RUNNING, None) for node_id in still))

    def _timing(self, node_id: str, state: NodeState, end: float | None) -> NodeTiming:
        kind = str(self.prompt.get(node_id, {}).get("class_type") or "unknown")
        return NodeTiming(node_id, kind, node_title(self.prompt, node_id), state, self._started.get(node_id), end)

    def _execution_start(self, _: Mapping[str, Any], at: float) -> None:
        self.started_at = at
        self._tell(EventKind.STARTED, at)

    def _execution_cached(self, data: Mapping[str, Any], at: float) -> None:
        for node_id in data.get("nodes") or ():
            self._end(node_id, NodeState.CACHED, at)

    def _progress_state(self, data: Mapping[str, Any], at: float) -> None:
        # Since 0.3.45. It tells of each node so far, every time; only what is new counts.
        self._states_told = True
        for state in (data.get("nodes") or {}).values():
            node_id = state.get("display_node_id") or state.get("node_id")
            if node_id in self._finished:
                continue
            if node_id not in self._started:
                self._begin(node_id, at)
            if state.get("state") == "finished" and node_id == state.get("node_id"):
                self._end(node_id, NodeState.SUCCEEDED, at)

    def _executing(self, data: Mapping[str, Any], at: float) -> None:
        node_id = data.get("display_node") or data.get("node")
        if data.get("node") is None:
            self.finish()
            return
        if not self._states_told:
            for open_id in [other for other in self._started if other not in self._finished and other != node_id]:
                self._end(open_id, NodeState.SUCCEEDED, at)
        if node_id not in self._started:
            self._begin(str(node_id), at)

    def _progress(self, data: Mapping[str, Any], at: float) -> None:
        value, maximum = data.get("value"), data.get("max")
        if isinstance(value, int | float) and isinstance(maximum, int | float):
            node_id = data.get("node")
            if self._is_followed(node_id):
                self._tell(EventKind.PROGRESS, at, node_id=node_id, value=value, maximum=maximum)

    def _executed(self, data: Mapping[str, Any], at: float) -> None:
        node_id = data.get("display_node") or data.get("node")
        if node_id in self._started and node_id not in self._finished:
            self._end(str(node_id), NodeState.SUCCEEDED, at)

    def _execution_error(self, data: Mapping[str, Any], at: float) -> None:
        node_id = data.get("node_id")
        if node_id and self._finished.get(str(node_id), (None, 0.0))[0] is not NodeState.FAILED:
            self._finished.pop(str(node_id), None)
            self._end(str(node_id), NodeState.FAILED, at)

    def _is_followed(self, node_id: object) -> bool:
        """Tell whether that is a node, and one more is not too many: a message says what a node wants it to say."""
        if not isinstance(node_id, str) or not 0 < len(node_id) <= _LONGEST_ID:
            return False
        return node_id in self._started or node_id in self._finished or self._count < MOST_NODES

    def _begin(self, node_id: str, at: float) -> None:
        if not self._is_followed(node_id):
            return
        self._count += 1
        self._started[node_id] = at
        self._tell(EventKind.NODE_STARTED, at, node_id=node_id)

    def _end(self, node_id: str, state: NodeState, at: float) -> None:
        if node_id not in self._finished and self._is_followed(node_id):
            self._count += node_id not in self._started
            self._finished[node_id] = (state, at)
            self._tell(EventKind.NODE_FINISHED, at, node_id=node_id, state=state)

    def _tell(
        self,
        kind: EventKind,
        at: float,
        *,
        node_id: str | None = None,
        state: NodeState | None = None,
        value: float | None = None,
        maximum: float | None = None,
    ) -> None:
        if self._on_event is not None:
            self._on_event(EngineEvent(kind, at, node_id, state, value, maximum, len(self._finished), len(self.prompt)))
