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
_CLAIM = """
WITH RECURSIVE waiting AS (
    (SELECT org_id FROM evaluations WHERE due_at IS NOT NULL ORDER BY org_id LIMIT 1)
    UNION ALL
    SELECT following.org_id FROM waiting CROSS JOIN LATERAL (
        SELECT org_id FROM evaluations WHERE due_at IS NOT NULL AND org_id > waiting.org_id ORDER BY org_id LIMIT 1
    ) following
), due AS (
    SELECT found.id, found.turn, found.due_at FROM waiting CROSS JOIN LATERAL (
        SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS turn FROM evaluations
        WHERE org_id = waiting.org_id AND due_at <= now() ORDER BY due_at LIMIT %(many)s
    ) found
    ORDER BY found.turn, found.due_at LIMIT %(candidates)s
), free AS MATERIALIZED (
    SELECT e.id FROM evaluations e JOIN due ON due.id = e.id WHERE e.due_at <= now()
    ORDER BY due.turn, due.due_at LIMIT %(many)s FOR UPDATE OF e SKIP LOCKED
)
UPDATE evaluations e SET status_code = 'running', claim_id = gen_random_uuid(), attempt_number = attempt_number + 1,
    due_at = now() + make_interval(secs => %(seconds)s), started_at = coalesce(started_at, now()), updated_at = now()
FROM free WHERE e.id = free.id
RETURNING e.id, e.org_id, e.run_id, e.claim_id, e.attempt_number, e.task_type, e.task_description, e.generation_prompt,
    e.evaluation_instructions, e.generated_image_url, e.image_object_key, e.input_attributes, e.reference_images,
    e.callback_url, e.client_ref, e.request_id, e.price, e.created_at
"""


async def claim(transaction: Transaction, many: int, seconds: float) -> list[Claim]:
    """Claim at most `many` evaluations that are due, for so many seconds."""
    values = {"many": many, "candidates": 4 * many, "seconds": seconds}
    return await transaction.rows(_CLAIM, values, row=Claim)


_RENEW = """
UPDATE evaluations SET due_at = now() + make_interval(secs => %(seconds)s)
WHERE claim_id = ANY (CAST(%(claims)s AS uuid[])) AND status_code = 'running'
"""


async def renew(transaction: Transaction, claims: Sequence[UUID], seconds: float) -> None:
    """Make these claims last for so many seconds from now."""
    await transaction.run(_RENEW, {"claims": list(claims), "seconds": seconds})


_GIVE_BACK = """
UPDATE evaluations SET status_code = 'pending', claim_id = NULL, updated_at = now(),
    due_at = now() + make_interval(secs => %(after_seconds)s)
WHERE id = %(id)s AND claim_id = %(claim_id)s AND status_code = 'running'
"""


async def give_back(transaction: Transaction, held: Claim, after_seconds: float) -> None:
    """Let an evaluation wait for another attempt."""
    await transaction.run(_GIVE_BACK, {"id": held.id, "claim_id": held.claim_id, "after_seconds": after_seconds})


_RELEASE = """
UPDATE evaluations SET status_code = 'pending', claim_id = NULL, updated_at = now(), due_at = now(),
    attempt_number = attempt_number - 1
WHERE claim_id = ANY (CAST(%(claims)s AS uuid[])) AND status_code = 'running'
"""


async def release(transaction: Transaction, held: Sequence[Claim]) -> None:
    """Give claims back: others may judge these evaluations at once, and this attempt does not count."""
    await transaction.run(_RELEASE, {"claims": [claim.claim_id for claim in held]})


_NEXT_DUE = """
SELECT extract(epoch FROM min(due_at) - now())::double precision FROM evaluations WHERE due_at > now()
"""


async def seconds_to_next(transaction: Transaction) -> float | None:
    """Return how long it is until the next one is due, leaving out what is due already; None: nothing waits."""
    return await transaction.value(_NEXT_DUE, of=float)


_FINISH = """
UPDATE evaluations SET
    status_code = %(status)s, due_at = NULL, claim_id = NULL, completed_at = now(), updated_at = now(),
    eval_duration_ms = elapsed_ms(started_at, now()),
    cost = CASE WHEN %(status)s = 'completed' THEN price END,
    overall_passed = %(overall_passed)s, weighted_pass_rate = %(weighted_pass_rate)s, score = %(score)s,
    top_issues = CAST(%(top_issues)s AS json), top_strengths = CAST(%(top_strengths)s AS json),
    check_summary = CAST(%(check_summary)s AS json), analysis_modules_executed = %(modules)s,
    primary_action_code = %(action)s, failure_code = %(failure_code)s, failure_message = %(failure_message)s
WHERE id = %(id)s AND claim_id = %(claim_id)s AND status_code = 'running'
RETURNING comfyui_workflow_id, created_at, completed_at, eval_duration_ms
"""


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """What is told of an evaluation that has just ended."""

    comfyui_workflow_id: UUID | None
    created_at: datetime
    completed_at: datetime
    eval_duration_ms: int | None


async def finish(transaction: Transaction, held: Claim, values: dict[str, Any]) -> FinishedRow | None:
    """End an evaluation. None: the claim was lost, and nothing was changed."""
    documents = ("top_issues", "top_strengths", "check_summary")
    bound = {
        **values,
        **{name: None if values[name] is None else orjson.dumps(values[name]).decode() for name in documents},
        "id": held.id,
        "claim_id": held.claim_id,
    }
    return await transaction.first(_FINISH, bound, row=FinishedRow)


_CHARGE = """
UPDATE budgets b SET month = month_of(now()),
    month_spent = CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END + %(cost)s,
    credit_spent = b.credit_spent + %(cost)s,
    low_balance_notified_at = CASE WHEN b.month = month_of(now()) OR b.monthly_limit IS NULL
                              THEN b.low_balance_notified_at END
WHERE b.org_id = %(org)s RETURNING budget_left(b)
"""

_NOTE_LOW = """
UPDATE budgets b SET low_balance_notified_at = clock_timestamp()
WHERE b.org_id = %(org)s AND b.low_balance_notified_at IS NULL AND budget_left(b) < b.low_balance_threshold
"""


async def charge(transaction: Transaction, held: Claim) -> tuple[Decimal | None, bool]:
    """Count the price of a verdict to the organization's budget, if it has one, as runs are counted.

    Returns what is left, None without a limit, and whether that fell below the threshold just now.
    """
    left = await transaction.value(_CHARGE, {"org": held.org_id, "cost": held.price}, of=Decimal)
    is_low = left is not None and await transaction.change(_NOTE_LOW, {"org": held.org_id}) > 0
    return left, is_low


_ADD_VERDICTS = """
WITH judged AS (
    INSERT INTO evaluation_judges (id, org_id, evaluation_id, ordinal, name, description, category, is_gate, passed,
                                   confidence, score, weight, reasoning, duration_ms)
    SELECT id, %(org)s, %(evaluation)s, ordinal, name, description, category, is_gate, passed, confidence, score,
           weight, reasoning, duration_ms
    FROM json_to_recordset(CAST(%(judges)s AS json)) AS j(
        id uuid, ordinal integer, name text, description text, category text, is_gate boolean, passed boolean,
        confidence float8, score float8, weight float8, reasoning text, duration_ms integer)
    RETURNING id
)
INSERT INTO evaluation_issues (id, org_id, evaluation_id, judge_id, comfyui_workflow_id, ordinal, category, subcategory,
                               detail, severity, created_at)
SELECT i.id, %(org)s, %(evaluation)s, judged.id, %(workflow)s, i.ordinal, i.category, i.subcategory, i.detail,
       i.severity, %(at)s
FROM json_to_recordset(CAST(%(issues)s AS json)) AS i(
    id uuid, judge_id uuid, ordinal integer, category text, subcategory text, detail text, severity text)
JOIN judged ON judged.id = i.judge_id
"""


async def add_verdicts(
    transaction: Transaction, held: Claim, ended: FinishedRow, verdicts: Sequence[dict[str, Any]]
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
    await transaction.run(_ADD_VERDICTS, values)
