"""The classes of an explicit list get their turn in order, with a patience for each step."""

import pytest

from runflow.queue.gpu_order import STEP_SECONDS, in_turn, next_turn

LIST = "L40S,A100,CPU"


@pytest.mark.parametrize(
    ("waited", "who"),
    [
        (0.0, ["L40S"]),
        (STEP_SECONDS - 0.1, ["L40S"]),
        (STEP_SECONDS, ["L40S", "A100"]),
        (2 * STEP_SECONDS - 0.1, ["L40S", "A100"]),
        (2 * STEP_SECONDS, ["L40S", "A100", "CPU"]),
        (1e9, ["L40S", "A100", "CPU"]),
    ],
)
def test_each_step_adds_the_next_class(waited: float, who: list[str]) -> None:
    assert [code for code in ("L40S", "A100", "CPU", "H100") if in_turn(LIST, code, waited)] == who
    turn, following = next_turn(LIST, waited)
    assert turn == who
    assert following == next((code for code in LIST.split(",") if code not in who), None)


def test_a_clock_that_runs_backwards_harms_nobody() -> None:
    assert in_turn(LIST, "L40S", -5.0) and not in_turn(LIST, "A100", -5.0)
    assert next_turn(LIST, -5.0) == (["L40S"], "A100")


def test_any_worker_is_in_turn_where_no_class_is_asked_for() -> None:
    assert in_turn("auto", "CPU", 0.0)
    assert in_turn("CPU", "CPU", 0.0) and not in_turn("L40S", "CPU", 1e9)
