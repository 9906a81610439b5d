"""A worker whose engines are held less well than at an earlier start says so, until somebody says that it is meant."""

from pathlib import Path

import pytest
import structlog.testing

from runflow.worker.engine.isolation.remembered import FILE, is_lower_than_before, rank
from runflow.worker.engine.isolation.rungs import Rung, Sandbox

BEST = Sandbox(Rung.NAMESPACES)
APART = Sandbox(Rung.LANDLOCK, privileged=True, users=64_738)
ALONE = Sandbox(Rung.LANDLOCK, why_not_better="Namespaces cannot be used: the test says so.")


def test_the_order_is_that_of_what_they_hold() -> None:
    order = [BEST, APART, ALONE, Sandbox(Rung.USER), Sandbox(Rung.NONE)]
    assert [rank(one) for one in order] == sorted({rank(one) for one in order})


def test_a_lower_one_is_told_at_each_start_until_it_is_meant(tmp_path: Path) -> None:
    assert not is_lower_than_before(tmp_path, APART)
    assert not is_lower_than_before(tmp_path, BEST)
    for _ in range(2):
        with structlog.testing.capture_logs() as said:
            assert is_lower_than_before(tmp_path, ALONE)
        (line,) = said
        assert (line["log_level"], line["before"], line["now"]) == ("warning", "namespaces", "landlock")
        assert str(tmp_path / FILE) in line["event"]
        assert "the test says so" in line["why"]
    assert not is_lower_than_before(tmp_path, BEST)
    (tmp_path / FILE).unlink()
    assert not is_lower_than_before(tmp_path, ALONE)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"sandbox": "of tomorrow"}', b"\xff"])
def test_a_file_that_says_nothing_is_written_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert not is_lower_than_before(tmp_path, ALONE)
    assert is_lower_than_before(tmp_path, Sandbox(Rung.NONE))
