"""The tiers of the suite: unit tests, and the slow ones that carry the marker `e2e`, `browser` or `chaos`.

Each run ends by saying how many tests of each tier ran and which were skipped or not chosen. With
`RUNFLOW_REQUIRE_TIERS=e2e,chaos` a skip in one of these tiers is a failure, and so is a tier of which no test ran:
`.ci/run` sets it, so that a machine that can run a tier never passes without it.
"""

import os
from collections import Counter
from collections.abc import Generator, Sequence

import pytest

TIERS = ("e2e", "browser", "chaos")
UNIT = "unit"
REQUIRE = "RUNFLOW_REQUIRE_TIERS"


def tier_of(item: pytest.Item) -> str:
    """Return the tier that a test belongs to."""
    return next((tier for tier in TIERS if item.get_closest_marker(tier)), UNIT)


class TierReport:
    """Counts of one run by tier, and what a required tier lacks."""

    def __init__(self, required: frozenset[str]) -> None:
        self.required = required
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.not_chosen: Counter[str] = Counter()
        self.faults: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count what `-k` and `-m` left out."""
        self.not_chosen.update(tier_of(item) for item in items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Count each test once; turn a skip in a required tier into a failure."""
        report = yield
        tier = tier_of(item)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[tier] += 1
            if tier in self.required:
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                report.outcome = "failed"
                report.longrepr = f"{reason}\nThe tier {tier} is required here ({REQUIRE}), so this skip is a failure."
        elif report.when == "call":
            self.ran[tier] += 1
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that skips itself hides its tests, whatever their tier is."""
        if report.skipped and self.required:
            self.faults.append(f"{report.nodeid} skipped itself as a whole")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when a required tier ran nothing."""
        if session.config.getoption("collectonly"):
            return
        self.faults += [f"no test of the tier {tier} ran" for tier in sorted(self.required) if not self.ran[tier]]
        if self.faults and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what each tier did; pytest's own summary says why a test was skipped."""
        terminalreporter.section("tiers")
        for tier in (UNIT, *TIERS):
            counts = {"ran": self.ran, "skipped": self.skipped, "not chosen": self.not_chosen}
            parts = [f"{count[tier]} {word}" for word, count in counts.items() if count[tier]]
            terminalreporter.line(f"{tier}: {', '.join(parts) or 'no tests'}")
        for fault in self.faults:
            terminalreporter.line(f"FAILED: {fault}, but {REQUIRE}={','.join(sorted(self.required))}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Read which tiers are required and start counting. Raises UsageError for a tier that does not exist."""
    required = frozenset(name.strip() for name in os.environ.get(REQUIRE, "").split(",") if name.strip())
    if unknown := required - {UNIT, *TIERS}:
        raise pytest.UsageError(f"{REQUIRE}: no tier {', '.join(sorted(unknown))}; there are {', '.join(TIERS)}")
    config.pluginmanager.register(TierReport(required), "runflow-tiers")
