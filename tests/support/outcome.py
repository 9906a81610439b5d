"""This plugin writes how a run of pytest ended into the file that `RUNFLOW_TEST_OUTCOME` names, as JSON.

A test that fails in its set-up or tear-down counts as failed, once; so does one whose process of pytest-xdist crashed.
What failed beside the tests stands in `faults`: a file that cannot be collected, a required tier of which nothing ran.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.support.tiers import TierReport

OUTCOME = "RUNFLOW_TEST_OUTCOME"


@dataclass(frozen=True)
class Failure:
    """A test that failed: its id, how long it took, and where and with what its first failure ended."""

    test: str
    seconds: float
    line: str


@dataclass(frozen=True)
class Outcome:
    """How many tests of a run passed and were skipped, which failed, and what else was wrong."""

    passed: int
    skipped: int
    failures: tuple[Failure, ...]
    faults: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> "Outcome | None":
        """Return what a run wrote, None when it ended before it could write."""
        if not file.exists():
            return None
        fields = json.loads(file.read_text())
        failures = tuple(Failure(**one) for one in fields.pop("failures"))
        return cls(**fields | {"failures": failures, "faults": tuple(fields["faults"])})


class OutcomeWriter:
    """Gathers the reports of one run, wherever its tests ran, and writes the outcome at its end."""

    def __init__(self, file: Path, root: Path) -> None:
        self.file = file
        self.root = root
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.faults: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test to what is known of it."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.lines.setdefault(report.nodeid, self.last_line(report))
        elif report.skipped:
            self.skipped.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected: its tests did not run, so nobody knows their verdict."""
        if report.failed:
            self.faults.append(f"{report.nodeid or 'the tests'} could not be collected")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the outcome, once the report of the tiers has given its verdict."""
        tiers = session.config.pluginmanager.getplugin("runflow-tiers")
        failures = tuple(Failure(test, self.seconds[test], line) for test, line in self.lines.items())
        outcome = Outcome(
            passed=len(self.seconds.keys() - self.lines.keys() - self.skipped),
            skipped=len(self.skipped - self.lines.keys()),
            failures=failures,
            faults=(*self.faults, *(tiers.faults if isinstance(tiers, TierReport) else ())),
        )
        self.file.write_text(json.dumps(asdict(outcome)))

    def last_line(self, report: pytest.TestReport) -> str:
        """Return the last line of a failure, `file:line: error` with the first line of what the error says."""
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            path = Path(crash.path)
            place = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            return f"{place}:{crash.lineno}: {crash.message.strip().partition(chr(10))[0]}"
        lines = [line.strip() for line in report.longreprtext.splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


def pytest_configure(config: pytest.Config) -> None:
    """Write the outcome of this run when asked to, but not that of a run which one of its tests starts."""
    if (file := os.environ.pop(OUTCOME, None)) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(OutcomeWriter(Path(file), config.rootpath), "runflow-outcome")
