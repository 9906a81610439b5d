"""The second try of failed tests, on small suites of its own that real runs of pytest judge."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.support.second_try import TIMED_OUT, Limits, SecondTry
from tests.support.source import ROOT

OK = pytest.ExitCode.OK
RED = pytest.ExitCode.TESTS_FAILED
PLUGINS = [f"-ptests.support.{name}" for name in ("tiers", "groups", "outcome")]
SUITE = """
import os, time
from pathlib import Path
import pytest

def first_time(name):
    mark = Path(__file__).with_name(f"{name}.tried")
    tried = mark.exists()
    mark.touch()
    return not tried
"""
FLAKY = """
def test_flaky{0}(): assert not first_time({0}), "unlucky"
"""
BROKEN = """
def test_broken(): assert 1 == 2
"""
FINE = """
def test_fine(): pass
def test_skipped(): pytest.skip("not here")
"""


class Suite:
    """Judges a suite of one file."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capfd = capfd
        self.flaky_file = folder / "flaky.txt"
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = e2e\n  browser\n  chaos\n")

    def __call__(self, *tests: str, options: Sequence[str] = (), **limits: float) -> int:
        (self.folder / "test_it.py").write_text(SUITE + "".join(tests))
        command = [sys.executable, "-m", "pytest", f"--rootdir={self.folder}", "-p", "xdist", *PLUGINS, "-rN"]
        judged = SecondTry(
            [*command, "-p", "no:cacheprovider", *options],
            [str(self.folder)],
            self.flaky_file,
            Limits(**limits),  # type: ignore[arg-type]
        ).judge()
        self.lines = self.capfd.readouterr().out.splitlines()
        return judged

    def flaky(self) -> list[str]:
        """Return what is kept of flaky tests, without their seconds; it is also what was printed."""
        kept = self.flaky_file.read_text().splitlines()
        assert [line for line in self.lines if line.startswith("flaky: ")] == kept
        return [re.sub(r"\d+\.\d seconds", "…", line) for line in kept]


@pytest.fixture
def judge(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the others take seconds to import
    monkeypatch.setenv("RUNFLOW_REQUIRE_TIERS", "")
    monkeypatch.chdir(tmp_path)
    return Suite(tmp_path, capfd)


def test_what_passes_at_once_has_no_second_try(judge: Suite) -> None:
    judge.flaky_file.write_text("of the run before")
    assert judge(FINE) == OK
    assert re.fullmatch(r"=+ 1 passed, 1 skipped in .* =+", judge.lines[-1])
    assert not judge.flaky_file.exists()


def test_a_test_that_passes_the_second_time_is_flaky_and_the_run_is_green(judge: Suite) -> None:
    assert judge(FINE, FLAKY.format(1)) == OK
    assert judge.flaky() == ["flaky: test_it.py::test_flaky1 (…, test_it.py:15: AssertionError: unlucky)"]
    assert judge.lines[-1] == "2 passed, 0 failed, 1 skipped"


def test_a_test_that_fails_twice_is_red(judge: Suite) -> None:
    assert judge(FINE, FLAKY.format(1), BROKEN) == RED
    assert len(judge.flaky()) == 1
    assert re.search(r"failed: test_it.py::test_broken \(.*: assert 1 == 2\)", "\n".join(judge.lines))
    assert judge.lines[-1] == "2 passed, 1 failed, 1 skipped"


def test_four_flaky_tests_are_red(judge: Suite) -> None:
    four = [FLAKY.format(number) for number in range(4)]
    assert judge(FINE, *four) == RED
    assert len(judge.flaky()) == 4
    assert judge.lines[-2:] == [
        "4 tests were flaky, more than 3: they count as failed.",
        "1 passed, 4 failed, 1 skipped",
    ]


def test_more_failures_than_chance_explains_are_not_tried_again(judge: Suite) -> None:
    assert judge(FINE, *(FLAKY.format(number) for number in range(3)), failures=2) == RED
    assert not judge.flaky_file.exists()
    assert judge.lines[-1] == "1 passed, 3 failed, 1 skipped"


SET_UP_AND_TEAR_DOWN = """
@pytest.fixture
def made():
    assert not first_time("set-up"), "no place"
    yield
    assert not first_time("tear-down"), "not closed"

def test_set_up(made): pass
def test_tear_down(made): pass
"""


def test_an_error_in_set_up_or_tear_down_is_a_failure_of_its_test(judge: Suite) -> None:
    assert judge(SET_UP_AND_TEAR_DOWN) == OK
    assert [line.rpartition(": ")[2] for line in judge.flaky()] == ["no place)", "not closed)"]
    assert judge.lines[-1] == "2 passed, 0 failed"


NAMES = """
@pytest.mark.parametrize("side", ["left [1]", "right::2", "öl"])
class TestBoth:
    @pytest.mark.parametrize("value", ["a b", "$(c)"])
    def test_it(self, side, value):
        assert (side, value) not in [("left [1]", "a b"), ("right::2", "$(c)"), ("öl", "a b")] or not first_time(side)
"""


def test_names_with_spaces_and_brackets_are_found_again(judge: Suite) -> None:
    assert judge(NAMES) == OK
    assert [line.removeprefix("flaky: test_it.py::TestBoth::").partition(" (…")[0] for line in judge.flaky()] == [
        "test_it[a b-left [1]]",
        r"test_it[a b-\xf6l]",
        "test_it[$(c)-right::2]",
    ]
    assert judge.lines[-1] == "6 passed, 0 failed"


CRASH = """
def test_crash():
    if first_time("crash"):
        os._exit(1)
"""


def test_a_crashed_process_is_a_failure_of_the_test_that_it_ran(judge: Suite) -> None:
    assert judge(FINE, CRASH, options=["-n2"]) == OK
    assert "crashed while running 'test_it.py::test_crash'" in judge.flaky()[0]
    assert judge.lines[-1] == "2 passed, 0 failed, 1 skipped"


def test_a_crash_of_pytest_itself_is_red(judge: Suite) -> None:
    assert judge(CRASH) == 1
    assert not judge.flaky_file.exists()


def test_a_file_that_cannot_be_collected_is_red_at_once(judge: Suite) -> None:
    options = ["--continue-on-collection-errors"]
    (judge.folder / "test_unreadable.py").write_text("import nothing_of_this_name")
    assert judge(FLAKY.format(1), options=options) == RED
    assert not judge.flaky_file.exists()


def test_a_required_tier_that_ran_nothing_is_red_at_once(judge: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNFLOW_REQUIRE_TIERS", "chaos")
    assert judge(FLAKY.format(1)) == RED
    assert not judge.flaky_file.exists()


def test_a_skip_in_a_required_tier_fails_twice(judge: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNFLOW_REQUIRE_TIERS", "unit")
    assert judge(FINE) == RED
    assert judge.lines[-1] == "1 passed, 1 failed"


def test_a_test_of_a_required_tier_passes_without_the_rest_of_it(judge: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNFLOW_REQUIRE_TIERS", "unit,e2e")
    marked = "\n@pytest.mark.{}\ndef test_engine(): pass\n".format("e2e")  # not of that tier itself
    assert judge(marked, FLAKY.format(1)) == OK
    assert judge.lines[-1] == "2 passed, 0 failed"


def test_a_run_that_does_not_end_is_red_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = tmp_path / "process"
    leaking = ["sh", "-c", 'sleep 600 & echo $! >"$0"; wait', str(process)]
    assert SecondTry(leaking, (), tmp_path / "flaky.txt", Limits(first=1)).judge() == TIMED_OUT
    left = int(process.read_text()) if process.exists() else None
    assert left is None or not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def test_no_time_left_for_a_second_try_is_red(judge: Suite) -> None:
    assert judge(FLAKY.format(1), whole=0) == RED
    assert judge.lines[-1] == "0 passed, 1 failed"


def test_the_command_line_tells_the_command_from_what_only_its_first_run_gets(judge: Suite) -> None:
    (judge.folder / ".ci").mkdir()
    (judge.folder / "test_it.py").write_text(SUITE + FLAKY.format(1) + BROKEN)
    command = [sys.executable, "-m", "pytest", *PLUGINS, "-p", "xdist"]
    tried = subprocess.run(
        [sys.executable, "-m", "tests.support.second_try", *command, "--", "-k", "flaky"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert tried.stdout.splitlines()[-1] == "1 passed, 0 failed"
    assert (judge.folder / ".ci" / "flaky.txt").read_text().startswith("flaky: test_it.py::test_flaky1 (")
