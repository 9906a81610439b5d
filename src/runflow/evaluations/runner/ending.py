"""The end of an evaluation: verdict, judges, issues and messages in one transaction, exactly once."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runflow.db.transaction import Transaction
from runflow.deliveries import messages, outbox
from runflow.evaluations.limits import EvaluationFailed
from runflow.evaluations.runner import queries as queue
from runflow.evaluations.runner.attempt import Judged
from runflow.evaluations.runner.queries import Claim, FinishedRow

_NOTHING: dict[str, Any] = {
    "overall_passed": None,
    "weighted_pass_rate": None,
    "score": None,
    "top_issues": [],
    "top_strengths": [],
    "check_summary": None,
    "modules": 0,
    "action": None,
    "failure_code": None,
    "failure_message": None,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """What is to be told after the commit.

    - `is_ours`: false when the claim was lost, and nothing was changed.
    - `balance_low`: the balance, when the verdict's price made it fall below its threshold.
    """

    is_ours: bool
    budget_used_up: bool = False
    balance_low: Decimal | None = None


async def complete(transaction: Transaction, held: Claim, judged: Judged) -> Ended:
    """End an evaluation with its verdict, and count its price."""
    outcome = judged.outcome
    verdict = {
        "overall_passed": outcome.overall_passed,
        "weighted_pass_rate": outcome.weighted_pass_rate,
        "score": outcome.score,
        "top_issues": outcome.top_issues,
        "top_strengths": outcome.top_strengths,
    }
    values = {
        **_NOTHING,
        **verdict,
        "status": "completed",
        "check_summary": outcome.check_summary,
        "modules": sum(said["passed"] is not None for said in judged.verdicts),
        "action": outcome.primary_action_code.value,
    }
    ended = await queue.finish(transaction, held, values)
    if ended is None:
        return Ended(is_ours=False)
    await queue.add_verdicts(transaction, held, ended, judged.verdicts)
    await _tell(transaction, held, ended, "completed", {**verdict, "primary_action_code": values["action"]})
    left, is_low = await queue.charge(transaction, held) if held.price else (None, False)
    return Ended(
        is_ours=True,
        budget_used_up=left is not None and left <= 0,
        balance_low=left if is_low else None,
    )


async def fail(transaction: Transaction, held: Claim, failure: EvaluationFailed) -> Ended:
    """End an evaluation without a verdict."""
    values = {**_NOTHING, "status": "failed", "failure_code": failure.code, "failure_message": failure.message}
    ended = await queue.finish(transaction, held, values)
    if ended is None:
        return Ended(is_ours=False)
    await _tell(transaction, held, ended, "failed", {"code": failure.code, "message": failure.message})
    return Ended(is_ours=True)


async def _tell(transaction: Transaction, held: Claim, ended: FinishedRow, status: str, output: dict[str, Any]) -> None:
    event, body = messages.evaluation_payload(
        evaluation_id=held.id,
        run_id=held.run_id,
        status=status,
        output=output,
        duration_ms=ended.eval_duration_ms,
        created_at=ended.created_at,
        completed_at=ended.completed_at,
        client_ref=held.client_ref,
    )
    if held.callback_url:
        await outbox.insert(
            transaction,
            org_id=held.org_id,
            kind_code="callback",
            evaluation_id=held.id,
            event_type_code=event,
            target_url=held.callback_url,
            payload=body,
            request_id=held.request_id,
        )
    await outbox.insert_for_webhooks(
        transaction,
        org_id=held.org_id,
        event_type_code=event,
        payload=body,
        evaluation_id=held.id,
        request_id=held.request_id,
    )
