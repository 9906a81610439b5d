"""What a worker tells of a run while it executes: numbered events, and the turns of its nodes."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt, MaxLen

from runflow.protocol.bounds import (
    MAX_DOCUMENT_BYTES,
    MAX_LINE,
    CutLine,
    JsonBytes,
    Milliseconds,
    Sentence,
    Short,
    Time,
)

MAX_EVENTS = 10_000
"""In one request."""
NUMBERS_PER_ATTEMPT = 1_000_000
"""A run's events are numbered by attempt: those of the second begin behind twice this."""
FIRST_OF_SERVER = 900_000
"""Within an attempt: numbers from here on are given by the server."""

MAX_PREVIEW_CHARACTERS = 350_000
"""256 KiB in Base64."""

EventType = Literal["status", "progress", "log", "node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run; `number` counts from 1 within the lease."""

    number: Annotated[int, Ge(1), Lt(FIRST_OF_SERVER)]
    type: EventType
    at: Time
    data: Annotated[dict[str, Any], MaxLen(32), CutLine(MAX_LINE), JsonBytes(MAX_DOCUMENT_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A picture of what a node is working on. It is shown to who follows the run at this moment, and not kept."""

    node_id: Short
    node_type: Short
    content_type: Literal["image/jpeg", "image/png"]
    content: Annotated[str, MaxLen(MAX_PREVIEW_CHARACTERS)] = field(
        metadata={"description": "The picture in Base64: at most 256 KiB of it."}
    )


class NodeState(StrEnum):
    """`state_code` of a node run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRun:
    """One node of one attempt."""

    node_id: Short
    node_type: Short
    title: Sentence | None = None
    state_code: NodeState
    started_at: Time | None = None
    completed_at: Time | None = None
    duration_ms: Milliseconds | None = None
    load_ms: Milliseconds | None = field(
        default=None, metadata={"description": "How long of it models were loaded. Null: not known."}
    )
    error_message: Sentence | None = None
