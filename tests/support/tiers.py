"""The tiers of the suite: unit tests, and the slow ones that carry the marker `e2e`, `browser` or `chaos`.

Each run ends by saying how many tests of each tier ran and which were skipped or not chosen. With
`RUNFLOW_REQUIRE_TIERS=e2e,chaos` a skip in one of these tiers is a failure, and so is a tier of which no test ran:
`.ci/run` sets it, so that a machine that can run a tier never passes without it. Tests marked `optional` need what such
a machine may lack, such as a package index that can be reached: their skip stays one.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from typing import Any

import pytest

TIERS = ("e2e", "browser", "chaos")
UNIT = "unit"
OPTIONAL = "optional"
REQUIRE = "RUNFLOW_REQUIRE_TIERS"
_NOT_CHOSEN = "runflow_not_chosen"


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
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Of all processes together, fixtures included."""
        self.faults: dict[str, None] = {}

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count what `-k` and `-m` left out."""
        self.not_chosen.update(tier_of(item) for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Learn what a process of pytest-xdist left out: each collects all tests, so any one tells of all."""
        self.not_chosen = Counter(getattr(node, "workeroutput", {}).get(_NOT_CHOSEN, self.not_chosen))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say of each report which tier it is of; turn a skip in a required tier into a failure."""
        report = yield
        tier = tier_of(item)
        skipped = report.skipped and not hasattr(report, "wasxfail")
        report.user_properties.append(("tier", tier))
        report.user_properties.append(("skipped", skipped))
        if skipped and tier in self.required and not item.get_closest_marker(OPTIONAL):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            report.outcome = "failed"
            report.longrepr = f"{reason}\nThe tier {tier} is required here ({REQUIRE}), so this skip is a failure."
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each test once, wherever it ran: with `-n` the reports come from other processes."""
        of = dict(report.user_properties)  # none when the process of pytest-xdist that ran the test crashed
        if "tier" in of:
            self.seconds[str(of["tier"])] += report.duration
        if of.get("skipped"):
            self.skipped[str(of["tier"])] += 1
        elif report.when == "call":
            self.ran[str(of["tier"])] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that skips itself hides its tests, whatever their tier is."""
        if report.skipped and self.required:
            self.faults[f"{report.nodeid} skipped itself as a whole"] = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when a required tier ran nothing."""
        if session.config.getoption("collectonly"):
            return
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_NOT_CHOSEN] = dict(self.not_chosen)
            return
        missing = sorted(tier for tier in self.required if not self.ran[tier])
        self.faults |= {f"no test of the tier {tier} ran": None for tier in missing}
        if self.faults and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what each tier did; pytest's own summary says why a test was skipped."""
        terminalreporter.section("tiers")
        for tier in (UNIT, *TIERS):
            counts = {"ran": self.ran, "skipped": self.skipped, "not chosen": self.not_chosen}
            parts = [f"{count[tier]} {word}" for word, count in counts.items() if count[tier]]
            terminalreporter.line(f"{tier}: {', '.join(parts) or 'no tests'}{self._took(tier)}")
        for fault in self.faults:
            terminalreporter.line(f"FAILED: {fault}, but {REQUIRE}={','.join(sorted(self.required))}", red=True)

    def _took(self, tier: str) -> str:
        return f" in {self.seconds[tier]:.0f} seconds of tests" if self.ran[tier] else ""


def pytest_configure(config: pytest.Config) -> None:
    """Read which tiers are required and start counting. Raises UsageError for a tier that does not exist."""
    required = frozenset(name.strip() for name in os.environ.get(REQUIRE, "").split(",") if name.strip())
    if unknown := required - {UNIT, *TIERS}:
        raise pytest.UsageError(f"{REQUIRE}: no tier {', '.join(sorted(unknown))}; there are {', '.join(TIERS)}")
    config.pluginmanager.register(TierReport(required), "runflow-tiers")
