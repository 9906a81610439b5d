import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import path_fault


@pytest.mark.parametrize("path", ["a", "a/b.png", "runs/x/..hidden", "a..b", "ein Bild.png", "a\\b"])
def test_paths_inside_are_fine(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path", ["", " ", "/a", "\\a", "C:/a", "c:a", "..", "../a", "a/../b", "a\\..\\b", "a/..", "a\x00b"]
)
def test_paths_that_may_leave_are_not(path: str) -> None:
    assert path_fault(path)


@given(st.text(st.sampled_from("ab./\\:"), max_size=12))
def test_whatever_passes_stays_inside(path: str) -> None:
    if path_fault(path) is None:
        for separators in (path, path.replace("\\", "/")):
            joined = posixpath.normpath(posixpath.join("/root/out", separators))
            assert joined == "/root/out" or joined.startswith("/root/out/")
