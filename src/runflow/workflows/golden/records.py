"""From rows of examples and golden runs to the records of the wire (docs/api/workflows.md, "Golden runs")."""

from collections.abc import Iterable
from typing import Any

from runflow.workflows.golden.tables import ExampleRow, GoldenExampleRow, GoldenRow


def example_record(row: ExampleRow) -> dict[str, Any]:
    """Return an example."""
    return {
        "id": row.id,
        "comfyui_workflow_id": row.workflow_id,
        "name": row.name,
        "input": row.input,
        "evaluate": row.evaluate,
        "run_id": row.run_id,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def golden_record(row: GoldenRow) -> dict[str, Any]:
    """Return a golden run without its examples."""
    return {
        "id": row.id,
        "comfyui_workflow_id": row.workflow_id,
        "version": str(row.number),
        "status_code": row.status_code,
        "reasons": row.reasons,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "completed_at": row.completed_at,
    }


def whole_record(row: GoldenRow, examples: Iterable[GoldenExampleRow]) -> dict[str, Any]:
    """Return a golden run with what became of each of its examples."""
    return golden_record(row) | {
        "examples": [
            {
                "name": one.name,
                "evaluate": one.evaluate,
                "run_id": one.run_id,
                "status_code": one.run_status,
                "failure_code": one.failure_code,
                "failure_message": one.failure_message,
            }
            for one in examples
        ]
    }
