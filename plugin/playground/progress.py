"""How far a run is, by the events of ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph import Prompt, node_title

ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


class Progress:
    """Counts the nodes that are done among those that the run executes; nothing here decides how it ended."""

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

    def hear(self, kind: str, data: Mapping[str, Any]) -> bool:
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
