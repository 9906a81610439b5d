"""What a run's caller is told while it runs: numbered events and node timings, no more of them than anyone can read."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runflow.graph import Prompt, executed_nodes, node_title
from runflow.protocol.events import Event, EventType, NodeRun, NodeState, Preview
from runflow.worker.engine.execution import ModelLoads
from runflow.worker.engine.previews import Preview as Picture


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as a time (UTC)."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(slots=True)
class Turn:
    """One node's turn, as it goes on. Times in seconds since the epoch."""

    node_id: str
    node_type: str
    title: str | None
    started_at: float
    completed_at: float | None = None
    state: NodeState = NodeState.RUNNING
    error_message: str | None = None
    load_ms: int | None = None

    @property
    def duration_ms(self) -> int | None:
        """Whole milliseconds from start to end, None while it runs."""
        return None if self.completed_at is None else round((self.completed_at - self.started_at) * 1000)

    def told(self) -> NodeRun:
        """Return it as a completion tells it."""
        return NodeRun(
            node_id=self.node_id,
            node_type=self.node_type,
            title=self.title,
            state_code=self.state,
            started_at=moment(self.started_at),
            completed_at=None if self.completed_at is None else moment(self.completed_at),
            duration_ms=self.duration_ms,
            load_ms=self.load_ms,
            error_message=self.error_message,
        )


@dataclass(frozen=True, slots=True)
class _Staged:
    type: EventType
    at: float
    data: dict[str, Any]


class Report:
    """Collects the events of one lease.

    An event waits as *staged* until it is sent; a newer progress replaces a staged older one, and so does the newer
    state of a node, because only the last one still matters. With `take` events get their numbers; from then on they
    are sent again, unchanged, until `delivered` says that the server has them.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._total = len(prompt)
        self._staged: dict[object, _Staged] = {}
        self._unconfirmed: list[Event] = []
        self._last_number = 0
        self._nodes: dict[str, Turn] = {}
        self._running: dict[str, Turn] = {}
        self._completed = 0
        self._preview: tuple[str, Picture] | None = None
        self.begun_at: float | None = None
        """When the engine began, in seconds since the epoch."""
        self.cold_start = False
        """Whether the engine had to be started first: this is the first prompt of its life."""
        self.loaded: bool | None = None
        """Whether the engine had other models loaded, or none; None: the prompt had no turn."""

    def use_prompt(self, prompt: Prompt, output_types: frozenset[str] = frozenset()) -> None:
        """Name nodes as in `prompt`, the bound one: binding adds nodes.

        Only those count that lead to a node of `output_types`, as the engine executes no other; where that is not
        known, all do.
        """
        self._prompt = prompt
        self._total = len(executed_nodes(prompt, output_types.__contains__)) or len(prompt)

    @property
    def has_begun(self) -> bool:
        """Whether the engine has begun, as far as it was told."""
        return self.begun_at is not None

    def engine_ms(self, now: float) -> int:
        """Return how long the engine has worked until `now`."""
        return 0 if self.begun_at is None else max(0, round((now - self.begun_at) * 1000))

    def show(self, node_id: str, picture: Picture) -> None:
        """A node shows what it is working on; only the newest picture matters."""
        self._preview = (node_id, picture)

    @property
    def has_preview(self) -> bool:
        """Whether there is a picture that nobody took yet."""
        return self._preview is not None

    def take_preview(self) -> Preview | None:
        """Return the newest picture, once; it may be lost."""
        if self._preview is None:
            return None
        (node_id, picture), self._preview = self._preview, None
        content = base64.b64encode(picture.content).decode()
        return Preview(
            node_id=node_id, node_type=self._type(node_id), content_type=picture.content_type, content=content
        )

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._staged or self._unconfirmed)

    def running(self, at: float) -> None:
        """The engine has begun."""
        self.begun_at = at
        self._stage("status", "status", at, {"status_code": "running"})

    def log(self, level: str, message: str, at: float, **more: str | None) -> None:
        """A line for the run's log; `level` is debug, info, warning or error, `more` what else there is to say."""
        self._stage(object(), "log", at, {"level_code": level, "message": message, **more})

    def node_started(self, node_id: str, at: float) -> None:
        """A node's turn began."""
        if node_id not in self._running:
            self._begin(node_id, at)

    def node_finished(self, node_id: str, at: float, state: NodeState = NodeState.SUCCEEDED) -> None:
        """A node's turn ended."""
        node = self._nodes.get(node_id) or self._begin(node_id, at)
        if node.state is not NodeState.RUNNING:
            return
        self._running.pop(node_id, None)
        node.state, node.completed_at = state, at
        self._stage_node(node, at)
        if state is not NodeState.FAILED:
            self._completed += 1
            self.progress(node_id, 1, 1, at)

    def node_failed(self, node_id: str, at: float, message: str) -> None:
        """A node raised; `message` is the cleaned one. That it failed may be known already, without the message."""
        node = self._nodes.get(node_id) or self._begin(node_id, at)
        node.error_message = message
        self.node_finished(node_id, at, NodeState.FAILED)

    def loaded_models(self, loads: ModelLoads | None) -> None:
        """The prompt is over, and its nodes have loaded models for so long; None: not known."""
        if loads is None:
            return
        for node in self._nodes.values():
            spent = round(loads.by_node.get(node.node_id, 0))
            node.load_ms = spent if node.duration_ms is None else min(spent, node.duration_ms)

    def end_running(self, at: float, message: str) -> None:
        """The prompt ended before its running nodes did: they failed, for the reason `message`."""
        for node_id in list(self._running):
            self.node_failed(node_id, at, message)

    def succeeded(self, at: float) -> None:
        """The prompt ended well: every node that there was to do is done, whatever the engine left out on the way."""
        last = next(reversed(self._nodes), None)
        if last is not None and self._completed < self._total:
            self._total = self._completed
            self.progress(last, 1, 1, at)

    def progress(self, node_id: str, value: float, maximum: float, at: float) -> None:
        """A node advanced to `value` of `maximum`; a node without a progress bar goes from nothing to 1 of 1."""
        self._stage(
            "progress",
            "progress",
            at,
            {
                "value": value,
                "max": maximum,
                "node_id": node_id,
                "node_type": self._type(node_id),
                "nodes_completed": self._completed,
                "nodes_total": max(self._total, self._completed),
            },
        )

    def take(self) -> list[Event]:
        """Return every event that the server does not have yet, oldest first, numbered."""
        for staged in self._staged.values():
            self._last_number += 1
            event = Event(number=self._last_number, type=staged.type, at=moment(staged.at), data=staged.data)
            self._unconfirmed.append(event)
        self._staged.clear()
        return list(self._unconfirmed)

    def delivered(self, events: list[Event]) -> None:
        """The server has what `take` returned."""
        if events:
            last = events[-1].number
            self._unconfirmed = [event for event in self._unconfirmed if event.number > last]

    def nodes(self) -> list[NodeRun]:
        """Every node's turn, in the order in which they began."""
        return [turn.told() for turn in self._nodes.values()]

    def _begin(self, node_id: str, at: float) -> Turn:
        title = node_title(self._prompt[node_id]) if node_id in self._prompt else None
        node = Turn(node_id, self._type(node_id), title, at)
        self._nodes[node_id] = self._running[node_id] = node
        self._stage_node(node, at)
        return node

    def _type(self, node_id: str) -> str:
        node = self._prompt.get(node_id)
        return str(node["class_type"]) if node is not None else "unknown"

    def _stage_node(self, node: Turn, at: float) -> None:
        data = {
            "node_id": node.node_id,
            "node_type": node.node_type,
            "title": node.title,
            "state_code": node.state.value,
            "duration_ms": node.duration_ms,
        }
        self._stage(("node", node.node_id), "node", at, data)

    def _stage(self, key: object, kind: EventType, at: float, data: dict[str, Any]) -> None:
        # Taken out first, so that the events stay in the order of their times.
        self._staged.pop(key, None)
        self._staged[key] = _Staged(kind, at, data)
