"""Run the tests, and what failed once more: each test alone, in a fresh process, with a fresh RUNFLOW_HOME.

    .venv/bin/python -m tests.support.second_try scripts/test                 as .ci/run does
    .venv/bin/python -m tests.support.second_try scripts/test -- tests/keys   the first run gets what follows `--`

A test that passes then is flaky: it is printed as `flaky: NAME (seconds, last line of its first failure)` and kept in
.ci/flaky.txt. The run is green when everything has passed by then and at most three tests were flaky; a fourth is no
chance any more, and all of them count as failed. Nothing is tried again when more than twenty tests failed, or when
more than tests failed: pytest itself, a file that cannot be collected, a required tier of which nothing ran.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.outcome import OUTCOME, Failure, Outcome
from tests.support.tiers import REQUIRE

FLAKY = Path(".ci/flaky.txt")
TIMED_OUT = 124


@dataclass(frozen=True)
class Limits:
    """What one run may take: seconds of the first try, of all tries and of each second one; how much may fail."""

    first: float = 4650
    whole: float = 5050
    each: float = 600
    failures: int = 20
    flaky: int = 3


@dataclass
class SecondTry:
    """One verdict on the tests that a command runs: it takes pytest's arguments."""

    command: Sequence[str]
    selection: Sequence[str] = ()
    flaky_file: Path = FLAKY
    limits: Limits = field(default_factory=Limits)

    def judge(self) -> int:
        """Run the tests, and what failed again; print what was flaky. Return the exit status."""
        self.flaky_file.unlink(missing_ok=True)
        deadline = time.monotonic() + self.limits.whole
        status, outcome = self.run(self.selection, os.environ, self.limits.first)
        if outcome is None or not outcome.failures or outcome.faults or status != pytest.ExitCode.TESTS_FAILED:
            return status
        failed = len(outcome.failures)
        if failed > self.limits.failures:
            print(f"{failed} tests failed, more than {self.limits.failures}: none of them is tried again.")
            return self.summary(outcome, failed)
        print(f"\n{failed} failed: what did runs once more, each test alone.", flush=True)
        flaky = self.again(outcome.failures, deadline)
        for one in outcome.failures:
            print(line_of("flaky" if one in flaky else "failed", one))
        if flaky:
            self.flaky_file.write_text("".join(line_of("flaky", one) + "\n" for one in flaky))
        if len(flaky) > self.limits.flaky:
            print(f"{len(flaky)} tests were flaky, more than {self.limits.flaky}: they count as failed.")
            flaky = []
        return self.summary(outcome, failed - len(flaky))

    def again(self, failures: Sequence[Failure], deadline: float) -> list[Failure]:
        """Return which of these failures are flaky: their test passed the second time, before the deadline."""
        # A test alone is not all of its tier, and a skip is no pass here, whichever tier is required.
        environment = {name: value for name, value in os.environ.items() if name != REQUIRE}
        flaky = []
        for failure in failures:
            seconds = min(self.limits.each, deadline - time.monotonic())
            if seconds <= 0:
                print(f"No time is left to try {failure.test} again.")
                continue
            status, outcome = self.run(("-n", "0", failure.test), environment, seconds)
            if status == 0 and outcome is not None and outcome.passed and not outcome.skipped:
                flaky.append(failure)
        return flaky

    def summary(self, first: Outcome, failed: int) -> int:
        """Print the verdict in one line of the form of pytest's own, and return the exit status."""
        passed = first.passed + len(first.failures) - failed
        print(f"{passed} passed, {failed} failed" + (f", {first.skipped} skipped" if first.skipped else ""))
        return int(pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> tuple[int, Outcome | None]:
        """Run the command in time; return its exit status, and what it wrote of its outcome if it came to that."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "outcome.json"
            # The command makes a fresh home when it is given none.
            given = {name: value for name, value in environment.items() if name != "RUNFLOW_HOME"}
            process = subprocess.Popen(
                [*self.command, *arguments],
                env=given | {OUTCOME: str(file)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                # A process that a test leaked can keep pytest from ending, long after the last verdict.
                print(f"{' '.join(self.command)} did not end within {seconds:.0f} seconds.", file=sys.stderr)
                status = TIMED_OUT
            finally:
                end(process)
            return status, Outcome.read(file)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and all that it started."""
    if process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def line_of(verdict: str, failure: Failure) -> str:
    """Return what is said of a test that failed the first time."""
    return f"{verdict}: {failure.test} ({failure.seconds:.1f} seconds, {failure.line})"


def main(arguments: Sequence[str]) -> int:
    """Judge the tests of a command line. Return the exit status."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return SecondTry(arguments[:at], arguments[at + 1 :]).judge()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
