"""How an installation talks: steps, notes, progress and one kind of question."""

import logging
from typing import Protocol

_LOG = logging.getLogger(__name__)


class Reporter(Protocol):
    """Where an installation says what it does. The command line shows it, a worker logs it."""

    interactive: bool
    """True where the tools that we call may draw on the terminal themselves."""

    def step(self, text: str) -> None:
        """Announce the next thing that takes time."""

    def note(self, text: str) -> None:
        """State a fact that the person should know."""

    def activity(self, text: str) -> None:
        """Show what is being worked on at this moment; the next activity, step or note replaces it."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Show how far one transfer is; `done` and `total` in bytes, `total` None when unknown."""

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question. False where nobody can answer."""


class LogReporter:
    """Write every step to the log; answer every question with a fixed value."""

    interactive = False

    def __init__(self, *, agree: bool = False) -> None:
        self._agree = agree

    def step(self, text: str) -> None:
        """Log the step."""
        _LOG.info("%s", text)

    def note(self, text: str) -> None:
        """Log the note."""
        _LOG.info("%s", text)

    def activity(self, text: str) -> None:
        """Say nothing: a log tells what was done."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Say nothing: a log is no place for a progress bar."""

    def confirm(self, question: str) -> bool:
        """Answer as decided beforehand, and log the question."""
        _LOG.info("%s %s", question, "yes" if self._agree else "no")
        return self._agree
