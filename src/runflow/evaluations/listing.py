"""What lists of evaluations can be filtered and sorted by."""

from runflow.evaluations.classes import EvaluationStatus
from runflow.evaluations.record import EMBEDS
from runflow.evaluations.schemas import Evaluation
from runflow.evaluations.tables import evaluations
from runflow.web.lists import FieldKind, ListField, ListSpec

_OWN = evaluations.c

EVALUATION_LIST = ListSpec(
    from_=evaluations,
    fields=(
        ListField("id", _OWN.id, FieldKind.UUID),
        ListField("run_id", _OWN.run_id, FieldKind.UUID, nullable=True),
        ListField("comfyui_workflow_id", _OWN.comfyui_workflow_id, FieldKind.UUID, nullable=True),
        ListField("is_automatic", _OWN.is_automatic, FieldKind.BOOL),
        ListField("status_code", _OWN.status_code, FieldKind.ENUM, choices=tuple(EvaluationStatus)),
        ListField("job_class_code", _OWN.job_class_code, FieldKind.STRING),
        ListField("task_type", _OWN.task_type, FieldKind.STRING),
        ListField("overall_passed", _OWN.overall_passed, FieldKind.BOOL, nullable=True),
        ListField("weighted_pass_rate", _OWN.weighted_pass_rate, FieldKind.DECIMAL, nullable=True),
        ListField("score", _OWN.score, FieldKind.DECIMAL, nullable=True),
        ListField("primary_action_code", _OWN.primary_action_code, FieldKind.STRING, nullable=True),
        ListField("failure_code", _OWN.failure_code, FieldKind.STRING, nullable=True),
        ListField("feedback_is_positive", _OWN.feedback_is_positive, FieldKind.BOOL, nullable=True),
        ListField("client_ref", _OWN.client_ref, FieldKind.STRING, nullable=True),
        ListField("request_id", _OWN.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", _OWN.created_by, FieldKind.UUID, nullable=True),
        ListField("eval_duration_ms", _OWN.eval_duration_ms, FieldKind.INT, nullable=True),
        ListField("cost", _OWN.cost, FieldKind.DECIMAL, nullable=True),
        ListField("created_at", _OWN.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", _OWN.updated_at, FieldKind.TIMESTAMP),
        ListField("completed_at", _OWN.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Evaluation.model_fields),
    embeds=EMBEDS,
)
