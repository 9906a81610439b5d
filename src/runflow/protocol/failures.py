"""Why a run failed: codes, stages, and what a worker says of it (docs/api/runs.md, "Failures")."""

from dataclasses import dataclass
from enum import StrEnum

from runflow.protocol.bounds import Document, Sentence, Short


class FailureCode(StrEnum):
    """What went wrong."""

    INPUT_VALIDATION_FAILED = "INPUT_VALIDATION_FAILED"
    INPUT_FETCH_FAILED = "INPUT_FETCH_FAILED"
    WORKFLOW_INVALID = "WORKFLOW_INVALID"
    NODE_TYPE_MISSING = "NODE_TYPE_MISSING"
    MODEL_MISSING = "MODEL_MISSING"
    RUNTIME_BUILD_FAILED = "RUNTIME_BUILD_FAILED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    ENGINE_CRASHED = "ENGINE_CRASHED"
    WORKER_LOST = "WORKER_LOST"
    RUN_TIMEOUT = "RUN_TIMEOUT"
    OUTPUT_MISSING = "OUTPUT_MISSING"
    OUTPUT_UPLOAD_FAILED = "OUTPUT_UPLOAD_FAILED"
    INTERNAL = "INTERNAL"


class Stage(StrEnum):
    """Where in the way of a run it went wrong."""

    DISPATCH = "dispatch"
    """Before any worker began."""
    PREPARE = "prepare"
    """Placing resources, binding values."""
    PREPROCESS = "preprocess"
    """Fetching and checking the caller's files."""
    EXECUTE = "execute"
    COLLECT = "collect"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed. `message` is one sentence and the next step, fit for the caller; `details` too.

    `retryable`: it was the worker's or the engine's trouble, not the run's own fault; the server tries again.
    `lacking`: the engine lacks what the version itself needs, and no value of the caller's named it; the server gives
    the run to a worker that has it.
    """

    code: FailureCode
    stage: Stage
    message: Sentence
    node_id: Short | None = None
    node_type: Short | None = None
    details: Document | None = None
    retryable: bool = False
    lacking: bool = False


TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
"""Run statuses that never change again."""
