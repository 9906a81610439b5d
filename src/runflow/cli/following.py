"""A run as people see it go on: a bar on a terminal, lines anywhere else."""

import time
from typing import TYPE_CHECKING, Any, Protocol, Self

from runflow.cli.console import console

if TYPE_CHECKING:
    from runflow.client import Event, Run, Runflow


class Display(Protocol):
    """Shows a run."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(self, *error: object) -> None:
        """Stop."""
        ...

    def show(self, text: str, fraction: float | None) -> None:
        """Show what happens, and how much of the run is done, as far as that is known."""
        ...

    def note(self, text: str) -> None:
        """Show a line that stays."""
        ...


class Lines:
    """One line for each change, for logs and pipes."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def show(self, text: str, fraction: float | None) -> None:
        """Print the text if it is another one."""
        if text != self._last:
            self._last = text
            self.note(text)

    def note(self, text: str) -> None:
        """Print a line."""
        console.print(text, markup=False, soft_wrap=True)


class Bar:
    """One line with a bar, that goes away at the end."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, text: str, fraction: float | None) -> None:
        """Show the text beside the bar, which moves where the end is known."""
        more: dict[str, Any] = {} if fraction is None else {"total": 1.0, "completed": fraction}
        self._progress.update(self._task, description=text, **more)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, soft_wrap=True)


def display() -> Display:
    """Return what fits where the command's words go."""
    return Bar() if console.is_terminal else Lines()


def follow(api: "Runflow", run: "Run", shown: Display, *, timeout: float, verbose: bool = False) -> "Run":
    """Show a run until it has ended, and return it; `verbose`: its nodes and log lines, too. Raises `RunTimeout`.

    While it is queued, its record says why; as soon as a worker has it, its events tell more. With `verbose` all of
    them are told, also of a run that has ended.
    """
    from runflow.client import RunTimeout

    deadline = time.monotonic() + timeout
    last: str | None = None
    reason: str | None = None
    while not run.is_terminal:
        ahead = (run.queue_position or 1) - 1
        shown.show(run.status_code + (f", {ahead} before it" if ahead else ""), None)
        if run.waiting_reason not in (None, reason):
            reason = run.waiting_reason
            shown.note(f"Waiting: {reason}")  # in full: it ends with what to do
        left = deadline - time.monotonic()
        if left <= 0:
            raise RunTimeout(run.id, timeout)
        if run.status_code == "queued":
            run = api.get_run(run, wait=1)
            continue
        for event in api.events(run, last_event_id=last, timeout=left):
            last = event.number
            _tell(shown, event, verbose=verbose)
            if event.status_code == "queued":  # given back by its worker: the record says what it waits for
                break
        run = api.get_run(run)
    if verbose:
        # It may have ended while its record was asked for; of what was told already nothing comes again.
        for event in api.events(run, last_event_id=last):
            _tell(shown, event, verbose=True)
    return run


def _tell(shown: Display, event: "Event", *, verbose: bool) -> None:
    if event.kind == "status" and event.status_code is not None:
        shown.show(event.status_code, 1.0 if event.is_end else None)
    elif event.kind == "progress":
        shown.show(f"node {event.node_id} {event.node_type or ''}".rstrip(), event.fraction)
    elif verbose and event.kind == "log":
        shown.note(f"{event.level_code or 'info'}: {event.message}")
    elif verbose and event.kind == "node":
        took = f" in {event['duration_ms']} ms" if event.get("duration_ms") is not None else ""
        shown.note(f"node {event.node_id} {event.node_type or ''}: {event.state_code}{took}")
