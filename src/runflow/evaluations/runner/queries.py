"""SQL of the queue of evaluations. All times are the database's, so server processes need not agree on the time.

An evaluation that has not ended has a `due_at`: a pending one may be begun then, a running one's claim lapses then. A
claim is the value that it wrote to `claim_id`; whoever comes back with another value has lost it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, text

from runflow.db.transaction import Transaction
from runflow.ids import new_id


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to judge an evaluation for as long as it is renewed, and what to judge."""

    id: UUID
    org_id: UUID
    run_id: UUID | None
    claim_id: UUID
    attempt_number: int
    task_type: str
    task_description: str | None
    generation_prompt: str | None
    evaluation_instructions: str | None
    generated_image_url: str | None
    image_object_key: str | None
    input_attributes: dict[str, Any] | None
    reference_images: list[dict[str, Any]]
    callback_url: str | None
    client_ref: str | None
    request_id: str | None
    price: Decimal
    created_at: datetime


# Jumps from one organization to the next along the index `evaluations_due` and takes the first few due of each: every
# organization's first one comes before any organization's second, and the cost does not grow with the queue.
_CLAIM = text("""
WITH RECURSIVE waiting AS (
    (SELECT org_id FROM evaluations WHERE due_at IS NOT NULL ORDER BY org_id LIMIT 1)
    UNION ALL
    SELECT following.org_id FROM waiting CROSS JOIN LATERAL (
        SELECT org_id FROM evaluations WHERE due_at IS NOT NULL AND org_id > waiting.org_id ORDER BY org_id LIMIT 1
    ) following
), due AS (
    SELECT found.id, found.turn, found.due_at FROM waiting CROSS JOIN LATERAL (
        SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS turn FROM evaluations
        WHERE org_id = waiting.org_id AND due_at <= now() ORDER BY due_at LIMIT :many
    ) found
    ORDER BY found.turn, found.due_at LIMIT :candidates
), free AS MATERIALIZED (
    SELECT e.id FROM evaluations e JOIN due ON due.id = e.id WHERE e.due_at <= now()
    ORDER BY due.turn, due.due_at LIMIT :many FOR UPDATE OF e SKIP LOCKED
)
UPDATE evaluations e SET status_code = 'running', claim_id = gen_random_uuid(), attempt_number = attempt_number + 1,
    due_at = now() + make_interval(secs => :seconds), started_at = coalesce(started_at, now()), updated_at = now()
FROM free WHERE e.id = free.id
RETURNING e.id, e.org_id, e.run_id, e.claim_id, e.attempt_number, e.task_type, e.task_description, e.generation_prompt,
    e.evaluation_instructions, e.generated_image_url, e.image_object_key, e.input_attributes, e.reference_images,
    e.callback_url, e.client_ref, e.request_id, e.price, e.created_at
""")


async def claim(connection: Transaction, many: int, seconds: float) -> list[Claim]:
    """Claim at most `many` evaluations that are due, for so many seconds."""
    values = {"many": many, "candidates": 4 * many, "seconds": seconds}
    return [Claim(*row) for row in await connection.execute(_CLAIM, values)]


_RENEW = text("""
UPDATE evaluations SET due_at = now() + make_interval(secs => :seconds)
WHERE claim_id = ANY (CAST(:claims AS uuid[])) AND status_code = 'running'
""")


async def renew(connection: Transaction, claims: Sequence[UUID], seconds: float) -> None:
    """Make these claims last for so many seconds from now."""
    await connection.execute(_RENEW, {"claims": list(claims), "seconds": seconds})


_GIVE_BACK = text("""
UPDATE evaluations SET status_code = 'pending', claim_id = NULL, updated_at = now(),
    due_at = now() + make_interval(secs => :after_seconds),
    attempt_number = attempt_number - CASE WHEN :uncounted THEN 1 ELSE 0 END
WHERE id = :id AND claim_id = :claim_id AND status_code = 'running'
""")


async def give_back(connection: Transaction, held: Claim, after_seconds: float, *, uncounted: bool = False) -> None:
    """Let an evaluation wait for another attempt; `uncounted`: this one does not count."""
    values = {"id": held.id, "claim_id": held.claim_id, "after_seconds": after_seconds, "uncounted": uncounted}
    await connection.execute(_GIVE_BACK, values)


_NEXT_DUE = text("""
SELECT extract(epoch FROM min(due_at) - now())::double precision FROM evaluations WHERE due_at > now()
""")


async def seconds_to_next(connection: Transaction) -> float | None:
    """Return how long it is until the next one is due, leaving out what is due already; None: nothing waits."""
    seconds: float | None = await connection.scalar(_NEXT_DUE)
    return seconds


_FINISH = text("""
UPDATE evaluations SET status_code = :status, due_at = NULL, claim_id = NULL, completed_at = now(), updated_at = now(),
    eval_duration_ms = (extract(epoch FROM now() - started_at) * 1000)::integer,
    cost = CASE WHEN :status = 'completed' THEN price END,
    overall_passed = :overall_passed, weighted_pass_rate = :weighted_pass_rate, score = :score,
    top_issues = CAST(:top_issues AS json), top_strengths = CAST(:top_strengths AS json),
    check_summary = CAST(:check_summary AS json), analysis_modules_executed = :modules,
    primary_action_code = :action, failure_code = :failure_code, failure_message = :failure_message
WHERE id = :id AND claim_id = :claim_id AND status_code = 'running'
RETURNING comfyui_workflow_id, created_at, completed_at, eval_duration_ms
""")


async def finish(connection: Transaction, held: Claim, values: dict[str, Any]) -> Row[Any] | None:
    """End an evaluation. None: the claim was lost, and nothing was changed."""
    documents = ("top_issues", "top_strengths", "check_summary")
    bound = {
        **values,
        **{name: None if values[name] is None else orjson.dumps(values[name]).decode() for name in documents},
        "id": held.id,
        "claim_id": held.claim_id,
    }
    row: Row[Any] | None = (await connection.execute(_FINISH, bound)).one_or_none()
    return row


_CHARGE = text("""
UPDATE budgets b SET month = month_of(now()),
    month_spent = CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END + :cost,
    credit_spent = b.credit_spent + :cost,
    low_balance_notified_at = CASE WHEN b.month = month_of(now()) OR b.monthly_limit IS NULL
                              THEN b.low_balance_notified_at END
WHERE b.org_id = :org RETURNING budget_left(b)
""")

_NOTE_LOW = text("""
UPDATE budgets b SET low_balance_notified_at = clock_timestamp()
WHERE b.org_id = :org AND b.low_balance_notified_at IS NULL AND budget_left(b) < b.low_balance_threshold
RETURNING b.org_id
""")


async def charge(connection: Transaction, held: Claim) -> tuple[Decimal | None, bool]:
    """Count the price of a verdict to the organization's budget, if it has one, as runs are counted.

    Returns what is left, None without a limit, and whether that fell below the threshold just now.
    """
    left: Decimal | None = await connection.scalar(_CHARGE, {"org": held.org_id, "cost": held.price})
    is_low = left is not None and await connection.scalar(_NOTE_LOW, {"org": held.org_id}) is not None
    return left, is_low


_ADD_VERDICTS = text("""
WITH judged AS (
    INSERT INTO evaluation_judges (id, org_id, evaluation_id, ordinal, name, description, category, is_gate, passed,
                                   confidence, score, weight, reasoning, duration_ms)
    SELECT id, :org, :evaluation, ordinal, name, description, category, is_gate, passed, confidence, score, weight,
           reasoning, duration_ms
    FROM json_to_recordset(CAST(:judges AS json)) AS j(
        id uuid, ordinal integer, name text, description text, category text, is_gate boolean, passed boolean,
        confidence float8, score float8, weight float8, reasoning text, duration_ms integer)
    RETURNING id
)
INSERT INTO evaluation_issues (id, org_id, evaluation_id, judge_id, comfyui_workflow_id, ordinal, category, subcategory,
                               detail, severity, created_at)
SELECT i.id, :org, :evaluation, judged.id, :workflow, i.ordinal, i.category, i.subcategory, i.detail, i.severity, :at
FROM json_to_recordset(CAST(:issues AS json)) AS i(
    id uuid, judge_id uuid, ordinal integer, category text, subcategory text, detail text, severity text)
JOIN judged ON judged.id = i.judge_id
""")


async def add_verdicts(
    connection: Transaction, held: Claim, ended: Row[Any], verdicts: Sequence[dict[str, Any]]
) -> None:
    """Keep what the judges said and the issues that they found."""
    judges = [{**verdict, "id": str(new_id()), "ordinal": number} for number, verdict in enumerate(verdicts)]
    issues = [{**issue, "id": str(new_id()), "judge_id": judge["id"]} for judge in judges for issue in judge["issues"]]
    values = {
        "org": held.org_id,
        "evaluation": held.id,
        "workflow": ended.comfyui_workflow_id,
        "at": ended.created_at,
        "judges": orjson.dumps(judges).decode(),
        "issues": orjson.dumps([{**issue, "ordinal": number} for number, issue in enumerate(issues)]).decode(),
    }
    await connection.execute(_ADD_VERDICTS, values)
