"""What follows from all judges together: a value, not an action. The rule is told in docs/evaluations.md."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PASS_RATE = 0.85
"""Share of the judges, by weight, that have to pass."""
MOST_SHOWN = 5
_SEVERITIES = ("high", "medium", "low")


class Action(StrEnum):
    """What to do with the picture."""

    ACCEPT = "accept"
    REVIEW = "review"
    REGENERATE = "regenerate"


ACTIONS = {
    Action.ACCEPT: "No judge found a fault that matters: use the image.",
    Action.REVIEW: "Judges found faults: look at the image before you use it.",
    Action.REGENERATE: "There is no usable image: generate it again.",
}
"""The reason of each action."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict of the panel; the fields are those of the evaluation's record."""

    overall_passed: bool
    weighted_pass_rate: float
    score: float
    top_issues: list[str]
    top_strengths: list[str]
    check_summary: dict[str, Any]
    primary_action_code: Action


def decide(verdicts: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> Outcome:
    """Return the outcome of these verdicts (as `judges.process` makes them), of which at least one judged.

    A gate that does not pass fails the picture. Otherwise it passes when judges of `PASS_RATE` of the weight pass.
    Judges that could not tell do not count.
    """
    spoke = [verdict for verdict in verdicts if verdict["passed"] is not None]
    gates_failed = [verdict for verdict in spoke if verdict["is_gate"] and not verdict["passed"]]
    counted = [verdict for verdict in spoke if not verdict["is_gate"]]
    weight = sum(verdict["weight"] for verdict in counted)
    if gates_failed:
        rate = score = 0.0
    elif not weight:
        rate = score = 1.0
    else:
        rate = sum(verdict["weight"] for verdict in counted if verdict["passed"]) / weight
        score = sum(verdict["weight"] * verdict["score"] for verdict in counted) / weight
    passed = not gates_failed and rate >= PASS_RATE
    action = Action.ACCEPT if passed else Action.REGENERATE if gates_failed else Action.REVIEW
    return Outcome(
        overall_passed=passed,
        weighted_pass_rate=round(rate, 4),
        score=round(score, 4),
        top_issues=_issues(spoke),
        top_strengths=_strengths(spoke),
        check_summary=_summary(verdicts, notes),
        primary_action_code=action,
    )


def _issues(spoke: Sequence[dict[str, Any]]) -> list[str]:
    found = [
        (_SEVERITIES.index(issue["severity"]), -verdict["weight"], issue["detail"])
        for verdict in spoke
        for issue in verdict["issues"]
    ]
    return list(dict.fromkeys(detail for _, _, detail in sorted(found)))[:MOST_SHOWN]


def _strengths(spoke: Sequence[dict[str, Any]]) -> list[str]:
    best = sorted(spoke, key=lambda verdict: -verdict["weight"])
    return list(dict.fromkeys(verdict["strength"] for verdict in best if verdict["strength"]))[:MOST_SHOWN]


def _summary(verdicts: Sequence[dict[str, Any]], notes: Sequence[str]) -> dict[str, Any]:
    counts = Counter({True: "passed", False: "failed", None: "not_judged"}[verdict["passed"]] for verdict in verdicts)
    return {
        "total": len(verdicts),
        "passed": counts["passed"],
        "failed": counts["failed"],
        "not_judged": counts["not_judged"],
        "gates_failed": [v["name"] for v in verdicts if v["is_gate"] and v["passed"] is False],
        "notes": list(notes),
    }
