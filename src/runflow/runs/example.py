"""A run as the reference shows it."""

from typing import Any

_ID = "0197f3a0-4b1c-7e2f-8a55-1f2e3d4c5b6a"
_ADDRESS = f"https://your-server.example/v1/runs/{_ID}"

RUN_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "org_id": "0197f39f-0000-7000-8000-000000000001",
    "comfyui_workflow_id": "0197f3a0-0000-7000-8000-000000000002",
    "target_type": "comfyui_workflow",
    "target_version": "3",
    "status_code": "succeeded",
    "status": "succeeded",
    "is_terminal": True,
    "source_code": "api",
    "input": {"prompt": "a sea otter holding a smooth pebble", "width": 1024},
    "output": {
        "kind": "comfyui_outputs",
        "outputs": [
            {
                "output_id": "picture",
                "url": "https://your-server.example/v1/storage/runs/…/0-picture_00001.png?expires=…&signature=…",
                "content_type": "image/png",
                "size_bytes": 1482011,
                "filename": "picture_00001.png",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "width": 1024,
                "height": 1024,
                "node_id": "9",
            }
        ],
    },
    "output_expired": False,
    "duration_ms": 10210,
    "cost": "0.004382",
    "cost_breakdown": {
        "gpu_code": "L40S",
        "price_per_second": "0.000444",
        "prepare_seconds": "0.231",
        "load_seconds": "0.000",
        "execute_seconds": "9.870",
        "billable_seconds": "9.870",
        "attempts": 1,
    },
    "nodes_total": 7,
    "nodes_completed": 7,
    "attempt_count": 1,
    "client_ref": "ticket-4821",
    "request_id": "0197f3a0-4b1b-7001-8a55-000000000003",
    "created_by": "0197f39f-0000-7000-8000-000000000004",
    "created_at": "2026-01-31T10:00:00.120000+00:00",
    "started_at": "2026-01-31T10:00:00.380000+00:00",
    "completed_at": "2026-01-31T10:00:10.330000+00:00",
    "callback_url": "https://your-server.example/webhook",
    "has_logs": True,
    "has_node_runs": True,
    "links": {"self": _ADDRESS, "logs": f"{_ADDRESS}/logs", "cancellation": f"{_ADDRESS}/cancellation"},
}
"""What holds something of a run that succeeded: in the OpenAPI document FastAPI leaves null out of examples."""
