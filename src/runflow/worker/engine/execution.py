"""What happens to one prompt in an engine, as values: the events on the way and the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runflow.protocol.events import NodeState
from runflow.protocol.failures import FailureCode
from runflow.worker.engine.previews import Preview

Prompt = Mapping[str, Mapping[str, Any]]
"""ComfyUI's API-format graph: node id → `{class_type, inputs, _meta?}`."""


class EventKind(StrEnum):
    """What an event tells."""

    STARTED = "started"
    """The engine has begun with the prompt."""
    NODE_STARTED = "node_started"
    NODE_FINISHED = "node_finished"
    """A node is done: `state` is succeeded, cached or failed."""
    PROGRESS = "progress"
    """A node's own progress bar moved: `value` of `maximum`."""
    PREVIEW = "preview"
    """A node shows what it is working on: `preview`."""


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One thing that happened; `at` in seconds since the epoch. Not coalesced: a sampler sends one per step."""

    kind: EventKind
    at: float
    node_id: str | None = None
    state: NodeState | None = None
    value: float | None = None
    maximum: float | None = None
    nodes_done: int = 0
    nodes_total: int = 0
    preview: Preview | None = None


OnEvent = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True)
class NodeTiming:
    """One node's turn. Times in seconds since the epoch; `started_at` is None for a node that never ran (cached)."""

    node_id: str
    node_type: str
    title: str
    state: NodeState
    started_at: float | None
    finished_at: float | None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while it runs, 0 for a cached node."""
        if self.state is NodeState.CACHED:
            return 0.0
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at) * 1000


@dataclass(frozen=True, slots=True)
class NodeError:
    """Why a prompt failed, cleaned for callers: no paths, tracebacks or input values of the engine's machine.

    `message` is one sentence that names the node (id, title, class) where one is to blame; `next_step` says what to do;
    `exception_type` is the class name that the node raised; `details` lists every complaint of a rejected prompt.
    """

    code: FailureCode
    message: str
    next_step: str
    node_id: str | None = None
    node_type: str | None = None
    title: str | None = None
    exception_type: str | None = None
    details: tuple[dict[str, Any], ...] = ()
    traceback: str | None = None
    """Where in the node it happened, without folders of the machine; for the workflow's owner alone."""

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class PromptRejected(Exception):
    """The engine refuses to run the prompt, or would have run only a part of it; `error` says why.

    `partial`: the engine accepted the valid part (ComfyUI answers 200 with `node_errors`) and has it queued under
    `queued_id`; it must be stopped.
    """

    def __init__(self, error: NodeError, *, partial: bool = False, queued_id: str | None = None) -> None:
        self.error = error
        self.partial = partial
        self.queued_id = queued_id
        super().__init__(str(error))


@dataclass(frozen=True, slots=True)
class ModelLoads:
    """How long models were loaded inside the engine during a prompt, in milliseconds: in all, and by node."""

    total_ms: float
    by_node: Mapping[str, float]
    """Of nodes that loaded none there is nothing."""


class Outcome(StrEnum):
    """How a prompt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Execution:
    """The end of one prompt.

    `outputs` is the history's: node id → bucket → list. `execute_ms` is the engine's own measure from start to end,
    0 for a prompt that never started. `rejected`: it was refused before anything ran. Times in seconds since the epoch.
    """

    outcome: Outcome
    outputs: dict[str, Any]
    nodes: tuple[NodeTiming, ...]
    error: NodeError | None
    execute_ms: float
    started_at: float | None
    finished_at: float
    rejected: bool = False
    peak_memory_bytes: int | None = None
    """The most memory that the engine needed meanwhile: of the GPU, or without one its process's; None: not known."""
    loads: ModelLoads | None = None
    """What of `execute_ms` was loading models; None: not known."""


def node_title(prompt: Prompt, node_id: str) -> str:
    """Return the title that people see for a node: its own, else its class."""
    node = prompt.get(node_id, {})
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return str(title or node.get("class_type") or "unknown")


def describe_node(prompt: Prompt, node_id: str, node_type: str | None = None) -> str:
    """Return the words that name a node in a message: id, title and class."""
    kind = str(node_type or prompt.get(node_id, {}).get("class_type") or "unknown")
    title = node_title(prompt, node_id)
    return f'node {node_id} "{title}" ({kind})' if title not in (kind, "unknown") else f"node {node_id} ({kind})"
