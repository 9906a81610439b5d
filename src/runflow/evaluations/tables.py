"""Tables of evaluations, what their judges said, and the issues that they found."""

from enum import StrEnum

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
