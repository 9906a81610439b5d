"""A wait as records show it."""

from dataclasses import dataclass

import pytest

from runflow.runs.waits import wait_document


@dataclass(frozen=True)
class Row:
    waited_ms: int | None
    machine_ms: int | None = None
    runtime_ms: int | None = None
    model_ms: int | None = None
    engine_ms: int | None = None


@pytest.mark.parametrize(
    ("row", "wait"),
    [
        (Row(None), None),
        (Row(0), (0, 0, 0, 0, 0)),
        (Row(100, 10, 20, 30, 40), (0, 10, 20, 30, 40)),
        (Row(100, 1, 2, 3, 4), (90, 1, 2, 3, 4)),
    ],
)
def test_the_queue_is_what_no_other_part_is(row: Row, wait: tuple[int, ...] | None) -> None:
    names = ("queue_ms", "machine_ms", "runtime_ms", "model_ms", "engine_ms")
    assert wait_document(row) == (None if wait is None else dict(zip(names, wait, strict=True)))
