"""Why a run failed: codes and stages (docs/api/runs.md, "Failures")."""

from enum import StrEnum


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


class FailureStage(StrEnum):
    """Where it went wrong."""

    DISPATCH = "dispatch"
    PREPARE = "prepare"
    PREPROCESS = "preprocess"
    EXECUTE = "execute"
    COLLECT = "collect"
    UPLOAD = "upload"


TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
"""Run statuses that never change again."""
