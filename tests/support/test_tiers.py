"""The tier report, on small suites of its own."""

import pytest

from tests.support.source import ROOT

SUITE = """
import pytest

def test_plain(): pass

@pytest.mark.e2e
def test_real_engine():
    {engine}

@pytest.mark.chaos
def test_full_disk(): pytest.skip("no tmpfs here")
"""
OPTIONAL = """
import pytest

@pytest.mark.chaos
def test_real(): pass

@pytest.mark.chaos
@pytest.mark.optional
def test_index(): pytest.skip("no index here")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the others take seconds to import
    pytester.makeini("[pytest]\nmarkers = e2e\n  browser\n  chaos\n  optional\n")
    return Run(pytester, monkeypatch)


class Run:
    """Runs a suite with these tiers required."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch

    def __call__(self, required: str, *arguments: str, engine: str = "pass", suite: str = SUITE) -> pytest.RunResult:
        self.monkeypatch.setenv("RUNFLOW_REQUIRE_TIERS", required)
        self.pytester.makepyfile(suite.format(engine=engine))
        plugins = ("-p", "tests.support.tiers", "-p", "tests.support.groups", "-p", "xdist", "-p", "no:cacheprovider")
        return self.pytester.runpytest_subprocess(*plugins, *arguments)


def test_without_required_tiers_a_skip_is_only_told(run: Run) -> None:
    result = run("")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["unit: 1 ran in * seconds of tests", "e2e: 1 ran in *", "browser: no tests", "chaos: 1 skipped"]
    )


def test_a_skip_in_a_required_tier_fails_and_says_why(run: Run) -> None:
    result = run("e2e,chaos")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*no tmpfs here", "*tier chaos is required here*", "*1 failed, 2 passed*"])


def test_an_optional_test_of_a_required_tier_may_be_skipped(run: Run) -> None:
    result = run("chaos", suite=OPTIONAL)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["chaos: 1 ran, 1 skipped in *", "*1 passed, 1 skipped*"])


def test_a_required_tier_without_a_test_fails(run: Run) -> None:
    result = run("browser", "-m", "not chaos")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["chaos: 1 not chosen", "FAILED: no test of the tier browser ran*", "*2 passed*"])
    assert result.outlines[-1].startswith("=")


def test_required_tiers_that_ran_pass(run: Run) -> None:
    assert run("e2e,unit").ret == pytest.ExitCode.OK


def test_an_expected_failure_is_no_skip(run: Run) -> None:
    assert run("unit", engine="pytest.xfail('known')").ret == pytest.ExitCode.OK


def test_several_processes_are_told_as_one(run: Run) -> None:
    result = run("e2e,browser", "-n2", "-m", "not chaos")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["unit: 1 ran in *", "e2e: 1 ran in *", "chaos: 1 not chosen", "*no test of the tier browser*"]
    )
    result.stdout.fnmatch_lines(["*2 passed*"])
    skipped = run("chaos", "-n2")
    skipped.stdout.fnmatch_lines(["*tier chaos is required here*", "chaos: 1 skipped", "*1 failed, 2 passed*"])


def test_an_unknown_tier_is_refused(run: Run) -> None:
    result = run("e3e")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no tier e3e*"])
