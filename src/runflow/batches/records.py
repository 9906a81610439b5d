"""From rows to the records of the wire (docs/api/batches.md)."""

from collections.abc import Mapping
from typing import Any

from runflow.batches.queries import ItemStatus, ShownBatch
from runflow.batches.schemas import BatchItem

TERMINAL = frozenset({"succeeded", "partial_succeeded", "failed", "cancelled"})

_ITEM = tuple(name for name in BatchItem.model_fields if name not in ("run", "run_id", "sequence_index"))


def record(batch: ShownBatch, base_url: str) -> dict[str, Any]:
    """Return a batch without what stands in its runs: items, input, output."""
    status = batch.status_code
    return {
        "id": batch.id,
        "org_id": batch.org_id,
        "target_type": batch.target_type,
        "target_type_code": batch.target_type,
        "target_id": batch.comfyui_workflow_id,
        "comfyui_workflow_id": batch.comfyui_workflow_id,
        "target_version": batch.target_version,
        "status_code": status,
        "status": status,
        "is_terminal": status in TERMINAL,
        "source_code": batch.source_code,
        "items_total": batch.items_total,
        "items_succeeded": batch.items_succeeded,
        "items_failed": batch.items_failed,
        "items_cancelled": batch.items_cancelled,
        "cost": batch.cost,
        "duration_ms": batch.duration_ms,
        "metadata": batch.metadata,
        "callback_url": batch.callback_url,
        "cancellation_reason": batch.cancellation_reason,
        "failure_code": batch.failure_code,
        "failure_stage_code": batch.failure_stage_code,
        "failure_message": _failure_message(batch),
        "resolved_template_id": None,
        "dispatch_provider_link_id": None,
        "request_id": batch.request_id,
        "created_by": batch.created_by,
        "created_at": batch.created_at,
        "started_at": batch.started_at,
        "completed_at": batch.completed_at,
        "links": _links(batch, base_url),
    }


def lean_item(item: ItemStatus) -> dict[str, Any]:
    """Return an item in short, from the row of its run."""
    return {
        "id": item.id,
        "sequence_index": item.batch_index,
        "run_id": item.id,
        "status_code": item.status_code,
        "client_ref": item.client_ref,
    }


def item_record(run: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return an item, from the record of its run."""
    return {"run_id": run["id"], "sequence_index": index} | {name: run[name] for name in _ITEM}


def _failure_message(batch: ShownBatch) -> str | None:
    if batch.failure_message is None:
        return None
    failed, total = batch.items_failed, batch.items_total
    return f"{failed} of {total} items failed and none succeeded. The first failure: {batch.failure_message}"


def _links(batch: ShownBatch, base_url: str) -> dict[str, str]:
    address = f"{base_url}/v1/batches/{batch.id}"
    return {
        "self": address,
        "items": f"{address}/items",
        "callback": f"{address}/callback",
        "cancellation": f"{address}/cancellation",
        "workflow": f"{base_url}/v1/comfyui-workflows/{batch.comfyui_workflow_id}",
    }
