"""The classes of an explicit list get their turn in order, those of `auto` by price, with a patience for each step."""

from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies

from runflow.protocol.workers import CPU
from runflow.queue.gpu_order import STEP_SECONDS, fits, have_order, in_turn, next_turn, order_of, turns_of
from runflow.workers.queries import GpuClass

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
    turn, following = next_turn(order_of(LIST, {}), waited)
    assert turn == who
    assert following == [code for code in LIST.split(",") if code not in who][:1]


def test_a_clock_that_runs_backwards_harms_nobody() -> None:
    assert in_turn(LIST, "L40S", -5.0) and not in_turn(LIST, "A100", -5.0)
    assert next_turn(order_of(LIST, {}), -5.0) == (["L40S"], ["A100"])


def test_any_worker_is_in_turn_where_no_class_is_asked_for() -> None:
    assert in_turn("auto", "CPU", 0.0)
    assert in_turn("CPU", "CPU", 0.0) and not in_turn("L40S", "CPU", 1e9)


def gpu(code: str, price: float = 0, memory_gb: int = 0) -> GpuClass:
    return GpuClass(code, memory_gb, Decimal(str(price)))


def test_the_cheapest_class_comes_first_and_equal_prices_come_together() -> None:
    turns = turns_of([gpu("H100", 3, 80), gpu("L4", 1, 24), gpu("A10G", 1, 24), gpu("A100", 2, 40), gpu("A100", 2, 80)])
    assert turns == {"L4": 0, "A10G": 0, "A100": 1, "H100": 2}
    assert order_of("auto", turns) == [["A10G", "L4"], ["A100"], ["H100"]]
    for waited, who in ((0.0, "L4 A10G"), (STEP_SECONDS, "L4 A10G A100"), (2 * STEP_SECONDS, "L4 A10G A100 H100")):
        assert [one for one in turns if in_turn("auto", one, waited, turns)] == [
            one for one in turns if one in who.split()
        ]
    assert next_turn(order_of("auto", turns), 0.0) == (["A10G", "L4"], ["A100"])
    assert next_turn(order_of("auto", turns), 1e9)[1] == []


def test_a_worker_without_a_gpu_takes_what_no_gpu_could() -> None:
    assert not in_turn("auto", CPU, 1e9, {"L4": 0})
    assert in_turn("auto", CPU, 0.0, turns_of([gpu(CPU)]))
    assert in_turn("auto", "NEW", STEP_SECONDS, {"L4": 0}) and not in_turn("auto", "NEW", 0.0, {"L4": 0})


def test_an_order_matters_where_prices_differ_or_somebody_has_no_gpu() -> None:
    alike = [gpu("L4", 1), gpu("A10G", 1), gpu(CPU)]
    assert not have_order(alike, "L4") and have_order(alike, CPU)
    assert have_order([gpu("L4", 1), gpu("A10G", 2)], "L4") and not have_order([gpu(CPU)], CPU)


def test_what_needs_more_than_a_gpu_has_does_not_fit() -> None:
    assert fits(24, "L4", 24) and not fits(25, "L4", 24)
    assert fits(25, "L4", 0), "nobody knows"
    assert fits(25, CPU, 0) and fits(0, "L4", 1)


CLASSES = strategies.lists(
    strategies.builds(
        gpu,
        strategies.sampled_from(["A", "B", "C", "D", "E", CPU]),
        strategies.integers(0, 3),
        strategies.sampled_from([0, 8, 24, 80]),
    ),
    min_size=1,
    max_size=8,
    # A price is its class's, whatever memory.
).map(lambda found: [gpu(one.code, ord(one.code[0]) % 3, one.memory_gb) for one in found])


@hypothesis.settings(deadline=None)
@hypothesis.given(CLASSES, strategies.integers(0, 100))
def test_nobody_starves_whatever_classes_there_are(classes: list[GpuClass], least_gb: int) -> None:
    able = [one for one in classes if fits(least_gb, one.code, one.memory_gb)]
    turns = turns_of(able)
    gpus = {one.code for one in able} - {CPU}
    for one in able:
        within = len(gpus) * STEP_SECONDS
        assert in_turn("auto", one.code, within, turns) or (one.code == CPU and gpus)
    if able:
        assert any(in_turn("auto", one.code, 0.0, turns) for one in able), "somebody takes it at once"
    dearest = max(((one.price_per_second, one.code) for one in able if one.code != CPU), default=None)
    if dearest is not None and len({one.price_per_second for one in able if one.code != CPU}) > 1:
        assert not in_turn("auto", dearest[1], 0.0, turns), "while there is a cheaper one"
