"""Tables of evaluations, what their judges said, and the issues that they found; what their rows hold."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Double, Integer, Numeric, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column

evaluations = Table(
    "evaluations",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("run_id"),
    uuid_column("comfyui_workflow_id"),
    Column("is_automatic", Boolean, nullable=False),
    Column("status_code", Text, nullable=False),
    Column("job_class_code", Text, nullable=False),
    Column("task_type", Text, nullable=False),
    Column("task_description", Text),
    Column("generation_prompt", Text),
    Column("evaluation_instructions", Text),
    Column("generated_image_url", Text),
    Column("image_object_key", Text),
    Column("image_content_type", Text),
    Column("output_id", Text),
    json_column("input_attributes"),
    json_column("reference_images", nullable=False),
    Column("client_ref", Text),
    Column("callback_url", Text),
    Column("request_id", Text),
    uuid_column("created_by"),
    Column("price", Numeric(14, 6), nullable=False),
    Column("cost", Numeric(14, 6)),
    Column("overall_passed", Boolean),
    Column("weighted_pass_rate", Double),
    Column("score", Double),
    json_column("top_issues", nullable=False),
    json_column("top_strengths", nullable=False),
    json_column("check_summary"),
    Column("analysis_modules_executed", Integer, nullable=False),
    Column("primary_action_code", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("feedback_is_positive", Boolean),
    Column("feedback_reason", Text),
    Column("attempt_number", Integer, nullable=False),
    uuid_column("claim_id"),
    time_column("due_at"),
    Column("eval_duration_ms", Integer),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("submitted_at", nullable=False),
    time_column("started_at"),
    time_column("completed_at"),
)

evaluation_judges = Table(
    "evaluation_judges",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("evaluation_id", nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("is_gate", Boolean, nullable=False),
    Column("passed", Boolean),
    Column("confidence", Double, nullable=False),
    Column("score", Double),
    Column("weight", Double, nullable=False),
    Column("reasoning", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    time_column("created_at", nullable=False),
)

evaluation_issues = Table(
    "evaluation_issues",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("evaluation_id", nullable=False),
    uuid_column("judge_id", nullable=False),
    uuid_column("comfyui_workflow_id"),
    Column("ordinal", Integer, nullable=False),
    Column("category", Text, nullable=False),
    Column("subcategory", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("severity", Text, nullable=False),
    time_column("created_at", nullable=False),
)


class EvaluationStatus(StrEnum):
    """`status_code` of an evaluation."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """A row of `evaluations`; `output_expired` tells whether the outputs of its run are gone."""

    id: UUID
    org_id: UUID
    run_id: UUID | None
    comfyui_workflow_id: UUID | None
    is_automatic: bool
    status_code: str
    job_class_code: str
    task_type: str
    task_description: str | None
    generation_prompt: str | None
    evaluation_instructions: str | None
    generated_image_url: str | None
    image_object_key: str | None
    image_content_type: str | None
    output_id: str | None
    input_attributes: dict[str, Any] | None
    reference_images: list[dict[str, Any]]
    client_ref: str | None
    callback_url: str | None
    request_id: str | None
    created_by: UUID | None
    price: Decimal
    cost: Decimal | None
    overall_passed: bool | None
    weighted_pass_rate: float | None
    score: float | None
    top_issues: list[Any]
    top_strengths: list[Any]
    check_summary: dict[str, Any] | None
    analysis_modules_executed: int
    primary_action_code: str | None
    failure_code: str | None
    failure_message: str | None
    feedback_is_positive: bool | None
    feedback_reason: str | None
    attempt_number: int
    claim_id: UUID | None
    due_at: datetime | None
    eval_duration_ms: int | None
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    output_expired: bool = False


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """A row of `evaluation_judges`."""

    id: UUID
    org_id: UUID
    evaluation_id: UUID
    ordinal: int
    name: str
    description: str
    category: str
    is_gate: bool
    passed: bool | None
    confidence: float
    score: float | None
    weight: float
    reasoning: str
    duration_ms: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IssueRow:
    """A row of `evaluation_issues`."""

    id: UUID
    org_id: UUID
    evaluation_id: UUID
    judge_id: UUID
    comfyui_workflow_id: UUID | None
    ordinal: int
    category: str
    subcategory: str
    detail: str
    severity: str
    created_at: datetime
