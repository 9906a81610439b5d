"""What the lists of log lines, node runs and attempts can be filtered and sorted by."""

from runflow.runs.history.queries import LEVEL, MESSAGE
from runflow.runs.history.schemas import Attempt, AttemptStatus, LogLevel, LogLine, NodeRun, NodeState
from runflow.runs.tables import run_attempts, run_events, run_node_runs
from runflow.web.lists import FieldKind, ListField, ListSpec

LOG_LIST = ListSpec(
    from_=run_events,
    fields=(
        ListField("id", run_events.c.id, FieldKind.UUID),
        ListField("run_id", run_events.c.run_id, FieldKind.UUID),
        ListField("number", run_events.c.sequence, FieldKind.INT),
        ListField("level_code", LEVEL, FieldKind.ENUM, choices=tuple(LogLevel)),
        ListField("message", MESSAGE, FieldKind.STRING, sortable=False),
        ListField("timestamp", run_events.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(LogLine.model_fields) - {"run"},
    embeds=frozenset({"run"}),
    default_sort="timestamp:desc,number:desc",
)

NODE_RUN_LIST = ListSpec(
    from_=run_node_runs,
    fields=(
        ListField("id", run_node_runs.c.id, FieldKind.UUID),
        ListField("run_id", run_node_runs.c.run_id, FieldKind.UUID),
        ListField("attempt_id", run_node_runs.c.attempt_id, FieldKind.UUID),
        ListField("node_id", run_node_runs.c.node_id, FieldKind.STRING),
        ListField("node_type", run_node_runs.c.node_type, FieldKind.STRING),
        ListField("title", run_node_runs.c.title, FieldKind.STRING, sortable=False, nullable=True),
        ListField("state_code", run_node_runs.c.state_code, FieldKind.ENUM, choices=tuple(NodeState)),
        ListField("duration_ms", run_node_runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("error_message", run_node_runs.c.error_message, FieldKind.STRING, sortable=False, nullable=True),
        ListField("created_at", run_node_runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", run_node_runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", run_node_runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(NodeRun.model_fields),
)

ATTEMPT_LIST = ListSpec(
    from_=run_attempts,
    fields=(
        ListField("id", run_attempts.c.id, FieldKind.UUID),
        ListField("number", run_attempts.c.number, FieldKind.INT),
        ListField("worker_id", run_attempts.c.worker_id, FieldKind.UUID),
        ListField("gpu_code", run_attempts.c.gpu_code, FieldKind.STRING),
        ListField("status_code", run_attempts.c.status_code, FieldKind.ENUM, choices=tuple(AttemptStatus)),
        ListField("cold_start", run_attempts.c.cold_start, FieldKind.BOOL),
        ListField("failure_code", run_attempts.c.failure_code, FieldKind.STRING, nullable=True),
        *(
            ListField(name, run_attempts.c[name], FieldKind.INT, nullable=True)
            for name in ("prepare_ms", "load_ms", "execute_ms", "upload_ms")
        ),
        ListField("started_at", run_attempts.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", run_attempts.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Attempt.model_fields),
    default_sort="number:asc",
)
