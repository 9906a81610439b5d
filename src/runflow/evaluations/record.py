"""An evaluation as the wire shows it (docs/api/evaluations.md, "Reading")."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from runflow.evaluations.panel import ACTIONS, Action
from runflow.runs.references import asset_id
from runflow.services import Services

EMBEDS = frozenset({"judges", "action", "gate_failures", "run"})

_AS_STORED = (
    *("id", "org_id", "run_id", "comfyui_workflow_id", "is_automatic", "output_id", "status_code", "job_class_code"),
    *("task_type", "task_description", "generation_prompt", "evaluation_instructions", "input_attributes"),
    *("overall_passed", "weighted_pass_rate", "score", "top_issues", "top_strengths", "check_summary"),
    *("analysis_modules_executed", "primary_action_code", "attempt_number", "eval_duration_ms", "failure_code"),
    *("failure_message", "feedback_is_positive", "feedback_reason", "created_by", "request_id", "client_ref"),
    *("callback_url", "cost", "created_at", "updated_at", "submitted_at", "started_at", "completed_at"),
)
_NOT_OURS = ("model_id", "flow_id", "override_reason", "parent_evaluation_id", "superseded_at")
_OF_JUDGE = (
    *("id", "evaluation_id", "name", "description", "category", "is_gate", "passed", "confidence", "score", "weight"),
    *("reasoning", "duration_ms"),
)
_OF_ISSUE = ("category", "subcategory", "detail", "severity")


def record(services: Services, base_url: str, row: Row[Any], signed: Mapping[UUID, str]) -> dict[str, Any]:
    """Return the record of a row. `signed` maps the ids of assets to fresh URLs."""
    stored = row._mapping
    links = {"self": f"{base_url}/v1/evaluations/{stored['id']}"}
    if stored["run_id"] is not None:
        links["run"] = f"{base_url}/v1/runs/{stored['run_id']}"
    return {
        **{name: stored[name] for name in _AS_STORED},
        **dict.fromkeys(_NOT_OURS),
        "target_type_code": "comfyui_workflow" if stored["comfyui_workflow_id"] is not None else None,
        "generated_image_url": _image_url(services, base_url, stored, signed),
        "reference_images": [
            {
                "url": _fresh(image["url"], signed),
                "kind": image.get("kind"),
                "description": image.get("description"),
            }
            for image in stored["reference_images"]
        ],
        "links": links,
    }


def references_in(row: Row[Any]) -> set[UUID]:
    """Return the assets that a record shows."""
    urls = [row.generated_image_url, *(image["url"] for image in row.reference_images)]
    return {found for url in urls if (found := asset_id(url)) is not None}


def judge_records(judges: Sequence[Row[Any]], issues: Sequence[Row[Any]]) -> dict[UUID, list[dict[str, Any]]]:
    """Return the judges' records by evaluation."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for judge in judges:
        detected = [
            {name: issue._mapping[name] for name in _OF_ISSUE} for issue in issues if issue.judge_id == judge.id
        ]
        shown = {name: judge._mapping[name] for name in _OF_JUDGE}
        found.setdefault(judge.evaluation_id, []).append({**shown, "detected_issues": detected})
    return found


def action_record(code: str | None) -> dict[str, Any] | None:
    """Return what to do with the image; None while there is no verdict."""
    return None if code is None else {"code": code, "reason": ACTIONS[Action(code)]}


def _image_url(services: Services, base_url: str, stored: Mapping[Any, Any], signed: Mapping[UUID, str]) -> str | None:
    if stored["generated_image_url"] is not None:
        return _fresh(stored["generated_image_url"], signed)
    if stored.get("output_expired") or stored["run_id"] is None:
        return None  # the output went with its run, or with its time
    key = stored["image_object_key"]
    return services.storage.download_url(
        base_url,
        key,
        filename=key.rpartition("/")[2],
        content_type=stored["image_content_type"],
        seconds=services.settings.output_url_seconds,
    )


def _fresh(url: str, signed: Mapping[UUID, str]) -> str:
    found = asset_id(url)
    return url if found is None else signed.get(found, url)
