"""Bodies and records of evaluations (docs/api/evaluations.md), and how a row becomes a record."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.assets.references import asset_id
from runflow.evaluations.limits import MAX_ATTRIBUTES_BYTES, MAX_REASON, MAX_REFERENCES, MAX_TEXT
from runflow.evaluations.runner.panel import ACTIONS, Action
from runflow.evaluations.tables import EvaluationRow, IssueRow, JudgeRow
from runflow.runs.schemas import CallbackUrl, ClientRef, Metadata, Run
from runflow.web.responses import Timestamp
from runflow.web.services import Services

MAX_URL = 2_000_000
"""Characters of an image's URL: a data URI of 1 MiB fits."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(orjson.dumps(value)) > MAX_ATTRIBUTES_BYTES:
        raise ValueError(f"may have at most {MAX_ATTRIBUTES_BYTES} bytes of JSON")
    return value


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_storable)]
ImageUrl = Annotated[str, Field(min_length=1, max_length=MAX_URL), AfterValidator(_storable)]
TaskType = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_storable)]


class ReferenceImage(BaseModel):
    """An image that the generated one was made from, or is to be compared with."""

    model_config = ConfigDict(extra="forbid")

    url: ImageUrl = Field(description="`https://…`, `runflow://assets/{uuid}` or `data:`.")
    kind: Annotated[str, Field(max_length=100), AfterValidator(_storable)] | None = Field(
        default=None, description="What it is to the generated image, e.g. `input` or `style`.", examples=["input"]
    )
    description: Text | None = None


class EvaluationCreate(BaseModel):
    """An image to evaluate."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "generated_image_url": "runflow://assets/0197f3a0-0000-7000-8000-000000000000",
                    "task_type": "headshot",
                    "generation_prompt": "a studio portrait on a grey background",
                    "input_attributes": {"width": 1024, "height": 1024},
                }
            ]
        },
    )

    generated_image_url: ImageUrl = Field(
        description="The image: `https://…`, `runflow://assets/{uuid}`, a `data:` URI up to 1 MiB, or the signed `url` "
        "of a run's output."
    )
    task_type: TaskType = Field(description="What the image is for.", examples=["headshot", "product_photography"])
    task_description: Text | None = None
    generation_prompt: Text | None = Field(default=None, description="What the image was generated from.")
    evaluation_instructions: Text | None = Field(
        default=None, description="What to look at. Only a vision-language judge reads it."
    )
    input_attributes: Annotated[Metadata, AfterValidator(_small)] | None = Field(
        default=None,
        description="What was asked for. Judges know `width`, `height`, `size` (`1024x768`), `aspect_ratio` (`16:9`) "
        "and `expect_change` (true or false).",
    )
    reference_images: Annotated[list[ReferenceImage], Field(max_length=MAX_REFERENCES)] | None = None
    run_id: UUID | None = Field(default=None, description="The run that generated the image.")
    client_ref: ClientRef | None = None
    job_class: Literal["standard"] = "standard"
    callback_url: CallbackUrl | None = Field(
        default=None, description="Receives one POST when the evaluation has ended."
    )


class Feedback(BaseModel):
    """What a person thinks of the image. Null takes it back."""

    model_config = ConfigDict(extra="forbid")

    is_positive: bool | None = Field(description="Whether the image is good; null removes the feedback.")
    reason: Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_storable)] | None = None


class Issue(BaseModel):
    """One fault that a judge found."""

    category: str = Field(examples=["sharpness"])
    subcategory: str = Field(examples=["blurred"])
    detail: str
    severity: str = Field(description="`low`, `medium` or `high`.")


class Judge(BaseModel):
    """What one judge said."""

    id: UUID
    evaluation_id: UUID
    name: str = Field(examples=["blur"])
    description: str
    category: str
    is_gate: bool = Field(description="Where a gate does not pass, the image does not pass.")
    passed: bool | None = Field(description="Null: the judge could not tell; it does not count.")
    confidence: float
    score: float | None
    weight: float
    reasoning: str
    detected_issues: list[Issue]
    duration_ms: int


class RecommendedAction(BaseModel):
    """What to do with the image."""

    code: str = Field(description="`accept`, `review` or `regenerate`.")
    reason: str


class CheckSummary(BaseModel):
    """How the judges voted."""

    total: int
    passed: int
    failed: int
    not_judged: int
    gates_failed: list[str]
    notes: list[str] = Field(description="What could not be taken into account, e.g. a reference that is gone.")


class ShownReference(BaseModel):
    """A reference image as the record shows it, references to assets replaced by signed URLs."""

    url: str
    kind: str | None
    description: str | None


class Evaluation(BaseModel):
    """A quality verdict on one image, or one to come."""

    id: UUID
    org_id: UUID
    run_id: UUID | None
    target_type_code: str | None = Field(description="`comfyui_workflow` for the output of a run.")
    model_id: UUID | None
    flow_id: UUID | None
    comfyui_workflow_id: UUID | None
    is_automatic: bool = Field(description="Made because the workflow has `auto_evaluate`; free of charge.")
    output_id: str | None = Field(description="Of an automatic one: the `output_id` of the image.")
    status_code: str = Field(description="`pending`, `running`, `completed` or `failed`.")
    job_class_code: str
    task_type: str
    task_description: str | None
    generation_prompt: str | None
    evaluation_instructions: str | None
    generated_image_url: str | None = Field(description="Signed anew at each read; null when the image is gone.")
    input_attributes: dict[str, Any] | None
    reference_images: list[ShownReference]
    overall_passed: bool | None
    weighted_pass_rate: float | None = Field(description="Share of the judges' weight that passed, 0 to 1.")
    score: float | None = Field(description="Weighted mean of the judges' scores, 0 to 1.")
    override_reason: str | None
    top_issues: list[str]
    top_strengths: list[str]
    check_summary: CheckSummary | None
    analysis_modules_executed: int = Field(description="How many judges spoke.")
    primary_action_code: str | None = Field(description="`accept`, `review` or `regenerate`.")
    parent_evaluation_id: UUID | None
    attempt_number: int
    superseded_at: Timestamp | None
    eval_duration_ms: int | None
    failure_code: str | None
    failure_message: str | None
    feedback_is_positive: bool | None
    feedback_reason: str | None
    created_by: UUID | None
    request_id: str | None
    client_ref: str | None
    callback_url: str | None
    cost: str | None = Field(description="In USD; set when it is completed.")
    links: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp
    submitted_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None


class EmbeddedEvaluation(Evaluation):
    """An evaluation with the relations that `embed` named."""

    judges: list[Judge] | None = None
    action: RecommendedAction | None = None
    gate_failures: list[Judge] | None = None
    run: Run | None = None


class StatusRecord(BaseModel):
    """One status of evaluations."""

    code: str
    description: str
    is_terminal: bool = Field(description="Whether it never changes again.")
    sort_order: int


class JobClass(BaseModel):
    """One class of evaluations."""

    code: str
    name: str
    description: str
    price: str = Field(description="Of one evaluation, a decimal string.")
    currency: str


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


def record(services: Services, base_url: str, row: EvaluationRow, signed: Mapping[UUID, str]) -> dict[str, Any]:
    """Return the record of a row. `signed` maps the ids of assets to fresh URLs."""
    links = {"self": f"{base_url}/v1/evaluations/{row.id}"}
    if row.run_id is not None:
        links["run"] = f"{base_url}/v1/runs/{row.run_id}"
    return {
        **{name: getattr(row, name) for name in _AS_STORED},
        **dict.fromkeys(_NOT_OURS),
        "target_type_code": "comfyui_workflow" if row.comfyui_workflow_id is not None else None,
        "generated_image_url": _image_url(services, base_url, row, signed),
        "reference_images": [
            {
                "url": _fresh(image["url"], signed),
                "kind": image.get("kind"),
                "description": image.get("description"),
            }
            for image in row.reference_images
        ],
        "links": links,
    }


def references_in(row: EvaluationRow) -> set[UUID]:
    """Return the assets that a record shows."""
    urls = [row.generated_image_url, *(image["url"] for image in row.reference_images)]
    return {found for url in urls if (found := asset_id(url)) is not None}


def judge_records(judges: Sequence[JudgeRow], issues: Sequence[IssueRow]) -> dict[UUID, list[dict[str, Any]]]:
    """Return the judges' records by evaluation."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for judge in judges:
        detected = [
            {name: getattr(issue, name) for name in _OF_ISSUE} for issue in issues if issue.judge_id == judge.id
        ]
        shown = {name: getattr(judge, name) for name in _OF_JUDGE}
        found.setdefault(judge.evaluation_id, []).append({**shown, "detected_issues": detected})
    return found


def action_record(code: str | None) -> dict[str, Any] | None:
    """Return what to do with the image; None while there is no verdict."""
    return None if code is None else {"code": code, "reason": ACTIONS[Action(code)]}


def _image_url(services: Services, base_url: str, row: EvaluationRow, signed: Mapping[UUID, str]) -> str | None:
    if row.generated_image_url is not None:
        return _fresh(row.generated_image_url, signed)
    key = row.image_object_key
    if row.output_expired or row.run_id is None or key is None:
        return None  # the output went with its run, or with its time
    return services.storage.download_url(
        base_url,
        key,
        filename=key.rpartition("/")[2],
        content_type=row.image_content_type,
        seconds=services.settings.output_url_seconds,
    )


def _fresh(url: str, signed: Mapping[UUID, str]) -> str:
    found = asset_id(url)
    return url if found is None else signed.get(found, url)
