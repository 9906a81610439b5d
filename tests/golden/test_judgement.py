"""What the runs and evaluations of a golden run come to."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from runflow.golden.judgement import Evaluated, Judgement, judge
from runflow.ids import new_id
from runflow.workflows.golden.tables import GoldenExampleRow

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def example(
    status: str | None, name: str = "otter", *, evaluate: bool = False, run: UUID | None = None
) -> GoldenExampleRow:
    failure = ("OUT_OF_MEMORY", "It ran out.") if status == "failed" else (None, None)
    return GoldenExampleRow(new_id(), 0, name, {}, evaluate, run or new_id(), status, *failure)


def verdict(row: GoldenExampleRow, status: str, *, passed: bool | None = None) -> Evaluated:
    assert row.run_id is not None
    return Evaluated(row.run_id, status, passed, "Unreadable." if status == "failed" else None, ["too dark"])


def judged(*rows: GoldenExampleRow, found: tuple[Evaluated, ...] = (), now: datetime = NOW) -> Judgement:
    return judge(rows, found, now=now, expires_at=LATER)


def codes(judgement: Judgement) -> list[str]:
    return [why["code"] for why in judgement.reasons]


def test_it_passes_when_all_have_succeeded() -> None:
    assert judged(example("succeeded"), example("succeeded")).passed
    assert judged(example("succeeded"), example("running")) == Judgement()


def test_the_first_failure_ends_it() -> None:
    found = judged(example("running"), example("failed", "two"))
    assert codes(found) == ["OUT_OF_MEMORY"] and found.reasons[0]["example"] == "two"
    assert codes(judged(example("cancelled"))) == ["RUN_CANCELLED"]
    assert codes(judged(example(None))) == ["RUN_REMOVED"]


def test_what_succeeded_waits_for_its_evaluations() -> None:
    row = example("succeeded", evaluate=True)
    assert judged(row).unevaluated == (row.run_id,)
    assert judged(row, found=(verdict(row, "running"),)) == Judgement()
    assert judged(row, found=(verdict(row, "completed", passed=True),)).passed
    mixed = (verdict(row, "completed", passed=True), verdict(row, "completed", passed=False))
    assert codes(judged(row, found=mixed)) == ["EVALUATION_NOT_PASSED"]
    assert "too dark" in judged(row, found=mixed).reasons[0]["message"]
    assert codes(judged(row, found=(verdict(row, "failed"),))) == ["EVALUATION_FAILED"]


def test_the_time_limit_names_what_has_not_ended() -> None:
    rows = (
        example("queued", "a"),
        example("running", "b"),
        example("succeeded", "c", evaluate=True),
        example("succeeded"),
    )
    found = judged(*rows, now=LATER)
    assert [(why["code"], why["example"]) for why in found.reasons] == [("TIME_LIMIT", one) for one in ("a", "b", "c")]
    assert judged(example("succeeded"), now=LATER).passed, "what has passed in time is seen late"
