"""Whether a golden run has passed: a pure decision about what its runs and evaluations have come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow.workflows.golden.service import reason
from runflow.workflows.golden.tables import GoldenExampleRow


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation of an output of one of the runs."""

    run_id: UUID
    status_code: str
    overall_passed: bool | None
    failure_message: str | None
    top_issues: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done now.

    - `passed`: the version may serve.
    - `reasons`: why it failed; empty where it has not.
    - `unevaluated`: runs that succeeded and whose outputs are still to be evaluated.

    None of these: it goes on.
    """

    passed: bool = False
    reasons: tuple[Mapping[str, Any], ...] = ()
    unevaluated: tuple[UUID, ...] = ()


def judge(
    examples: Sequence[GoldenExampleRow],
    evaluations: Sequence[Evaluated],
    *,
    now: datetime,
    expires_at: datetime,
) -> Judgement:
    """Decide about a golden run whose runs were dispatched. The first failure ends it: the rest would be in vain."""
    of_run: dict[UUID, list[Evaluated]] = {}
    for one in evaluations:
        of_run.setdefault(one.run_id, []).append(one)
    failed = [why for example in examples for why in _failures(example, of_run)]
    if failed:
        return Judgement(reasons=tuple(failed))
    unevaluated = tuple(
        one.run_id
        for one in examples
        if one.run_id is not None and one.evaluate and one.run_status == "succeeded" and one.run_id not in of_run
    )
    open_ones = [one for one in examples if not _is_done(one, of_run)]
    if not open_ones:
        return Judgement(passed=True)
    if now >= expires_at:
        return Judgement(reasons=tuple(_late(one) for one in open_ones))
    return Judgement(unevaluated=unevaluated)


def _is_done(example: GoldenExampleRow, of_run: Mapping[UUID, Sequence[Evaluated]]) -> bool:
    if example.run_id is None or example.run_status != "succeeded":
        return False
    found = of_run.get(example.run_id, ())
    return not example.evaluate or (bool(found) and all(one.status_code == "completed" for one in found))


def _failures(example: GoldenExampleRow, of_run: Mapping[UUID, Sequence[Evaluated]]) -> list[dict[str, Any]]:
    about: dict[str, Any] = {"example": example.name, "run_id": example.run_id}
    if example.run_id is None:
        return []
    if example.run_status is None:
        message = f'The run of example "{example.name}" was removed meanwhile. Start the golden run again.'
        return [reason("RUN_REMOVED", message, **about)]
    if example.run_status == "failed":
        code, said = example.failure_code or "FAILED", example.failure_message or "The run failed."
        return [reason(code, f'Example "{example.name}" failed: {said}', **about)]
    if example.run_status == "cancelled":
        message = f'The run of example "{example.name}" was cancelled. Start the golden run again.'
        return [reason("RUN_CANCELLED", message, **about)]
    if not example.evaluate:
        return []
    return [why for one in of_run.get(example.run_id, ()) for why in _not_good(example, one, about)]


def _not_good(example: GoldenExampleRow, one: Evaluated, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    if one.status_code == "failed":
        said = one.failure_message or "See the evaluations of the run."
        message = f'An output of example "{example.name}" could not be evaluated: {said}'
        return [reason("EVALUATION_FAILED", message, **about)]
    if one.status_code == "completed" and not one.overall_passed:
        issues = "; ".join(str(issue) for issue in list(one.top_issues)[:3] if isinstance(issue, str))
        message = (
            f'An output of example "{example.name}" did not pass its evaluation{f": {issues}" if issues else ""}. '
            f"GET /v1/runs/{example.run_id}/evaluations tells what each judge says."
        )
        return [reason("EVALUATION_NOT_PASSED", message, **about)]
    return []


def _late(example: GoldenExampleRow) -> dict[str, Any]:
    if example.run_status == "succeeded":
        what = "was still being evaluated"
    elif example.run_status in (None, "queued"):
        what = "was still waiting for a worker (its run's waiting_reason says why)"
    else:
        what = "was still running"
    message = f'Example "{example.name}" {what} when the time limit of the golden run was over.'
    return reason("TIME_LIMIT", message, example=example.name, run_id=example.run_id)
