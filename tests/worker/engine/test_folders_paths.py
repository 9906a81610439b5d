"""No name that somebody else chose leads out of its folder."""

import pytest

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.folders import relative_path


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "C:\\x", "a\\..\\x", "a\0b"])
def test_paths_that_leave_are_refused(path: str) -> None:
    with pytest.raises(EngineError, match="cannot be used"):
        relative_path(path)


def test_both_separators_lead_to_one_path() -> None:
    assert relative_path("a\\b/c.png") == "a/b/c.png"
