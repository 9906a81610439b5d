"""Log lines, node runs and attempts as the wire shows them."""

from typing import Any

from sqlalchemy import Row

from runflow.runs.history.schemas import Attempt, LogLevel, NodeRun

_TOLD = frozenset({"level_code", "message"})
_ATTEMPT = tuple(Attempt.model_fields)
_NODE_RUN = tuple(name for name, field in NodeRun.model_fields.items() if field.is_required())
_NODE_RUN_EMPTY = {name: field.default for name, field in NodeRun.model_fields.items() if not field.is_required()}


def attempt_record(row: Row[Any]) -> dict[str, Any]:
    """Return one attempt."""
    return {name: row._mapping[name] for name in _ATTEMPT}


def node_run_record(row: Row[Any]) -> dict[str, Any]:
    """Return one node run. What only steps of flows have is empty."""
    return {name: row._mapping[name] for name in _NODE_RUN} | _NODE_RUN_EMPTY


def log_record(row: Row[Any]) -> dict[str, Any]:
    """Return one log line."""
    told = row.data
    level = told.get("level_code")
    return {
        "id": row.id,
        "run_id": row.run_id,
        "number": row.sequence,
        "level_code": level if level in tuple(LogLevel) else LogLevel.INFO.value,
        "message": str(told.get("message", "")),
        "timestamp": row.created_at,
        "meta": {key: value for key, value in told.items() if key not in _TOLD} or None,
    }
