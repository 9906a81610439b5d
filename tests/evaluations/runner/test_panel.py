"""The rule by which judges decide together."""

from typing import Any

import pytest

from runflow.evaluations.judges.registry import built_in, is_gate
from runflow.evaluations.runner.panel import PASS_RATE, decide
from runflow.evaluations.vision import VisionJudge


def said(name: str, passed: bool | None, weight: float = 1.0, score: float = 1.0, **more: Any) -> dict[str, Any]:
    basis = {"name": name, "passed": passed, "weight": weight, "score": score, "is_gate": False, "strength": None}
    return {**basis, "issues": [], **more}


def test_a_failed_gate_fails_everything() -> None:
    found = decide([said("gate", False, is_gate=True), said("a", True), said("b", True)])
    assert (found.overall_passed, found.weighted_pass_rate, found.score) == (False, 0.0, 0.0)
    assert found.primary_action_code == "regenerate" and found.check_summary["gates_failed"] == ["gate"]


def test_otherwise_the_weight_of_those_that_pass_decides() -> None:
    found = decide([said("gate", True, is_gate=True), said("a", True, 9.0), said("b", False, 1.0, 0.2)])
    assert found.overall_passed and found.weighted_pass_rate == 0.9 and found.score == 0.92
    found = decide([said("a", True, 8.0), said("b", False, 2.0)])
    assert not found.overall_passed and found.primary_action_code == "review"


def test_who_could_not_tell_does_not_count() -> None:
    found = decide([said("a", True), said("b", None)])
    assert found.overall_passed and found.weighted_pass_rate == 1.0
    assert (found.check_summary["not_judged"], found.check_summary["total"]) == (1, 2)


def test_with_the_gate_alone_the_picture_passes() -> None:
    assert decide([said("gate", True, is_gate=True)]).weighted_pass_rate == 1.0


def test_the_worst_issues_come_first_and_each_once() -> None:
    issues = [{"severity": severity, "detail": f"{severity}."} for severity in ("low", "high", "medium", "high")]
    found = decide([said("a", False, issues=issues), said("b", True, strength="sharp")])
    assert found.top_issues == ["high.", "medium.", "low."] and found.top_strengths == ["sharp"]


@pytest.mark.parametrize("with_vision", [False, True])
def test_any_weighty_judge_alone_can_fail_a_picture(with_vision: bool) -> None:
    """All speak, one fails: only a noisy picture may pass, and among many judges a badly lit one."""
    weights = {judge.name: judge.weight for judge in built_in() if not is_gate(judge)}
    if with_vision:
        weights[VisionJudge.name] = VisionJudge.weight
    passing = set()
    for failing in weights:
        found = decide([said(name, name != failing, weight) for name, weight in weights.items()])
        assert found.overall_passed == (found.weighted_pass_rate >= PASS_RATE)
        if found.overall_passed:
            passing.add(failing)
    assert passing == ({"noise", "exposure"} if with_vision else {"noise"})
