"""A run as the wire shows it (docs/api/runs.md, "Reading"): its record, its outputs, the addresses around it."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import orjson

from runflow.assets.references import replaced
from runflow.protocol.failures import TERMINAL
from runflow.queue.position import Position
from runflow.runs.tables import RunRow
from runflow.runs.waits import wait_document
from runflow.web.services import Services

HEAVY: Mapping[str, str] = {
    "input": "input",
    "metadata": "metadata",
    "output": "outputs",
    "error": "failure_details",
    "cost_breakdown": "cost_breakdown",
}
"""What a list reads only when `fields` asks for it: field of the record, column of the row."""
EVALUATION_SUMMARY = ("passed", "status_code", "score")
"""What a run's record says of its evaluations (docs/api/evaluations.md, "Reading")."""

EMBEDS = frozenset({"node_runs", "logs", "attempts", "comfyui_workflow", "model", "flow"})


def record(
    services: Services,
    base_url: str,
    run: RunRow,
    *,
    waiting_reason: str | None = None,
    position: Position | None = None,
    signed: Mapping[UUID, str] | None = None,
) -> dict[str, Any]:
    """Return the record of a run.

    `signed` maps asset ids to fresh URLs, which stand in `input` and `metadata` where the caller gave references. Of a
    row that was read without some of the `HEAVY` columns, what is made of them is empty: `fields` leaves it out.
    """
    status = run.status_code
    evaluation = run.evaluation
    feedback = (evaluation or {}).get("feedback") or {}
    output = None
    if status == "succeeded" and not run.output_expired:
        outputs = sorted(run.outputs, key=lambda item: item["ordinal"])
        output = output_document(services, base_url, outputs, seconds=services.settings.output_url_seconds)
        output["image_urls"] = [
            file["url"] for file in output["outputs"] if (file["content_type"] or "").startswith("image/")
        ]

    def fresh(asset: UUID) -> str | None:
        return (signed or {}).get(asset)

    return {
        "id": run.id,
        "org_id": run.org_id,
        "flow_id": None,
        "model_id": None,
        "model": run.model,
        "comfyui_workflow_id": run.comfyui_workflow_id,
        "target_type": run.target_type,
        "target_version": run.target_version,
        "status_code": status,
        "status": status,
        "is_terminal": status in TERMINAL,
        "waiting_reason": waiting_reason,
        "queue_position": None if position is None else position.queue_position,
        "estimated_wait_seconds": None if position is None else position.estimated_wait_seconds,
        "source_code": run.source_code,
        "priority": run.priority,
        "input": replaced(run.input, fresh),
        "output": output,
        "output_expired": run.output_expired,
        "context": None,
        "duration_ms": run.duration_ms,
        "wait": wait_document(run),
        "cost": run.cost,
        "cost_breakdown": run.cost_breakdown,
        "nodes_total": run.nodes_total,
        "nodes_completed": run.nodes_completed,
        "attempt_count": run.attempt_count,
        "resolved_template_id": None,
        "batch_id": run.batch_id,
        "rerun_of": run.rerun_of,
        "client_ref": run.client_ref,
        "jurisdiction_code": None,
        "flow_version_id": None,
        "request_id": run.request_id,
        "created_by": run.created_by,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "finished_at": run.completed_at,
        "callback_url": run.callback_url,
        "metadata": replaced(run.metadata, fresh),
        "has_logs": run.has_logs,
        "has_node_runs": run.has_node_runs,
        "links": run_links(base_url, run.id, run.comfyui_workflow_id, run.batch_id),
        "cancellation_reason": run.cancellation_reason,
        "failure_code": run.failure_code,
        "failure_stage_code": run.failure_stage_code,
        "failure_message": run.failure_message,
        "failure_reason": run.failure_message,
        "error": error_document(run.failure_code, run.failure_message, run.failure_details),
        "feedback_is_positive": feedback.get("is_positive"),
        "feedback_reason": feedback.get("reason"),
        "source_chat_message_id": None,
        "current_evaluation_summary": evaluation and {name: evaluation[name] for name in EVALUATION_SUMMARY},
    }


def documents_size(run: RunRow) -> int:
    """Return how many bytes of JSON the caller's documents in a row have."""
    return len(orjson.dumps(run.input)) + len(orjson.dumps(run.metadata))


def run_links(base_url: str, run_id: UUID, workflow_id: UUID, batch_id: UUID | None) -> dict[str, str]:
    """Return the addresses, absolute, by what they lead to."""
    run = f"{base_url}/v1/runs/{run_id}"
    links = {
        "self": run,
        "events": f"{run}/events",
        "logs": f"{run}/logs",
        "node_runs": f"{run}/node-runs",
        "attempts": f"{run}/attempts",
        "callback": f"{run}/callback",
        "evaluations": f"{run}/evaluations",
        "cancellation": f"{run}/cancellation",
        "reruns": f"{run}/reruns",
        "workflow": f"{base_url}/v1/comfyui-workflows/{workflow_id}",
    }
    if batch_id is not None:
        links["batch"] = f"{base_url}/v1/batches/{batch_id}"
    return links


KIND = "comfyui_outputs"


def output_document(
    services: Services, base_url: str, outputs: Iterable[Mapping[str, Any]], *, seconds: int
) -> dict[str, Any]:
    """Return `output` of a succeeded run: one element per file, each with a signed URL that lives `seconds`."""
    return {
        "kind": KIND,
        "outputs": [
            {
                "output_id": output["output_id"],
                "url": services.storage.download_url(
                    base_url,
                    output["object_key"],
                    filename=output["filename"],
                    content_type=output["content_type"],
                    seconds=seconds,
                ),
                "content_type": output["content_type"],
                "size_bytes": output["size_bytes"],
                "filename": output["filename"],
                "sha256": output["sha256"],
                "width": output["width"],
                "height": output["height"],
                "node_id": output["node_id"],
            }
            for output in outputs
        ],
    }


def error_document(code: str | None, message: str | None, details: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return `error` of a failed run: `{code, message, node_id, node_type, input, details}`; None for any other."""
    if code is None:
        return None
    known = details or {}
    return {
        "code": code,
        "message": message,
        "node_id": known.get("node_id"),
        "node_type": known.get("node_type"),
        "input": (known.get("details") or {}).get("input"),
        "details": known.get("details"),
    }
