"""The suite runs in a clone of any name."""

import pytest

from tests.support.source import ROOT


def test_the_root_package_is_not_imported(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\ntestpaths = tests\naddopts = --import-mode=importlib\n")
    (pytester.path / "__init__.py").write_text("raise ImportError('meant for ComfyUI')")
    (pytester.mkdir("tests") / "test_one.py").write_text("def test_one(): pass")
    plain = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert plain.ret != pytest.ExitCode.OK, "pytest no longer imports the root: tests/support/plain_root.py can go"
    assert (
        pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "tests.support.plain_root").ret
        == pytest.ExitCode.OK
    )
