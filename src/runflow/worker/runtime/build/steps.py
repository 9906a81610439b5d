"""The steps of a build, in order, and what each says: to its log, and to whoever waits for it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from runflow.worker.runtime.build.failed import RuntimeBuildFailed, SourceNotApproved
from runflow.worker.runtime.commands import InstallError, without_credentials

Tell = Callable[[str], None]
"""Takes a sentence for whoever waits for the build."""
CODE = "RUNTIME_BUILD_FAILED"
_MOST_CHARACTERS = 4_000
_PASSES = re.compile(
    r"No space left|Disk quota|ran out of time|timed out|Could not resolve host|Temporary failure|"
    r"Connection (?:refused|reset)|error sending request|Network is unreachable|HTTP status server error|"
    r"returned error: 5\d\d",
    re.IGNORECASE,
)
"""What tools say of a disk or a network, which may be another one a moment later."""


class Step(StrEnum):
    """What a build does, in this order."""

    SOURCES = "sources"
    """ComfyUI and the node packs, at their commits."""
    PACKAGES = "packages"
    """One set of Python packages for all of them."""
    ENVIRONMENT = "environment"
    """torch, and these packages, installed by their hashes."""
    CHECK = "check"
    """A ComfyUI that starts without a network and has every node class of the prompt."""


def passes(error: InstallError | OSError) -> bool:
    """Tell whether what went wrong may be right a moment later, by what tools say of it."""
    if isinstance(error, OSError):
        return True
    return error.may_pass if error.may_pass is not None else _PASSES.search(str(error)) is not None


def failure_of(step: str, error: InstallError | OSError, log: Path | None = None) -> RuntimeBuildFailed:
    """Return the failure of a build whose step ended with this error; `log` is where more of it stands."""
    message = f"{error.strerror or error}: {error.filename}" if isinstance(error, OSError) else str(error)
    packs = getattr(error, "packs", ())
    waits_for = error.source if isinstance(error, SourceNotApproved) else None
    return RuntimeBuildFailed(
        f"The runtime could not be built: the step `{step}` failed. {message[:_MOST_CHARACTERS]}",
        code=CODE,
        step=str(step),
        pack=packs[0] if packs else None,
        is_permanent=not (waits_for or passes(error)),
        log_path=log,
        waits_for=waits_for,
    )


class BuildReport:
    """The log of one build, which is also a `Reporter` of what installs."""

    interactive = False

    def __init__(self, log: Path, tell: Tell = lambda _: None) -> None:
        """Write to `log`; `tell` hears each step."""
        self.log = log
        self._tell = tell
        self._step: Step | None = None

    def begin(self, step: Step, text: str) -> "BuildReport":
        """Begin a step, as a block: what fails in it is that step's failure."""
        self._step = step
        self.step(text)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Turn what went wrong in a step into the failure of the build."""
        if error is None or isinstance(error, RuntimeBuildFailed) or not isinstance(error, InstallError | OSError):
            return
        assert self._step is not None
        failed = failure_of(self._step, error, self.log)
        self.note(failed.message)
        raise failed from error

    def step(self, text: str) -> None:
        """Announce the next thing that takes time."""
        self._write(f"› {text}")
        self._tell(text)

    def note(self, text: str) -> None:
        """State a fact."""
        self._write(f"  {text}")

    def activity(self, text: str) -> None:
        """Say nothing: a log tells what was done."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Say nothing: a log is no place for a progress bar."""

    def confirm(self, question: str) -> bool:
        """Agree to downloads: whoever allowed builds has agreed to them."""
        self._write(f"{question} yes")
        return True

    def _write(self, text: str) -> None:
        at = datetime.now(UTC).strftime("%H:%M:%S")
        with self.log.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(f"{at} {line}\n" for line in without_credentials(text).splitlines() or [""]))
