"""Who runs beside whom, in a small suite of its own."""

import pytest

from tests.support.groups import group_of, place_of
from tests.support.source import ROOT

FILE = """
import os, pytest

@pytest.mark.{tier}
def test_{tier}(): open("{name}.place", "w").write(str(os.getpid()))

def test_plain(): pass
"""


def test_the_tests_of_slow_tiers_share_a_process(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # other plugins take seconds to import
    pytester.makeini("[pytest]\nmarkers = e2e\n  browser\n  chaos\n")
    for number in range(3):
        files = {f"test_{tier}_{number}": FILE.format(tier=tier, name=f"{tier}-{number}") for tier in ("e2e", "chaos")}
        pytester.makepyfile(**files, **{f"test_{number}": "def test_quick(): pass"})
    result = pytester.runpytest_subprocess("-p", "tests.support.groups", "-p", "xdist", "-n2")
    result.assert_outcomes(passed=15)
    written = list(pytester.path.glob("*.place"))
    assert len(written) == 6
    assert len({path.read_text() for path in written}) == 1


def test_the_hostile_suite_is_one_group() -> None:
    files = sorted((ROOT / "tests/e2e/hostile").glob("test_*.py"))
    assert {group_of(file) for file in files} == {"hostile"}


def test_the_long_groups_start_early_and_the_one_that_installs_comfyui_first() -> None:
    names = (
        "accounts/keys/test_routes.py",
        "e2e/hostile/test_reach.py",
        "e2e/test_models.py",
        "web/test_route_table_sweep.py",
        "browser/test_deploy.py",
    )
    files = [ROOT / "tests" / name for name in names]
    assert sorted(files, key=place_of) == files[::-1]
