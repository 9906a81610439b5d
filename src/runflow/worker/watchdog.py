"""The worker's own process, watched by one that does next to nothing: started again when it crashes or stands still.

A worker takes no runs while its event loop is stuck, and nothing inside it can be trusted to notice: a call that holds
Python's lock stops every thread. So the command forks before it loads anything, and the process that people and
supervisors know passes on their signals and waits for a sign of life from the other's event loop every second.
"""

import asyncio
import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, NoReturn, TypeVar

import structlog
import typer

from runflow.background import stop_signals
from runflow.worker.parent import end_with_parent

log = structlog.get_logger()

PULSE_SECONDS = 1.0
STARTING_SECONDS = 300.0
"""How long the first sign of life may take: a machine may be busy, and a GPU slow to say what it is."""
CRASHED = 70
"""The exit status by which the worker's process says that it ends in a fault."""
RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before each start after another; a worker that lived a minute begins with the first again."""
OPEN_FILES = 65_536
"""More than a run of many large pictures needs; each that waits for its upload is one."""

T = TypeVar("T")

_HEALTHY_SECONDS = 60.0
_STACKS_SECONDS = 15.0
_STACKS_CHARACTERS = 20_000
_STACKS_BYTES = 1 << 20
_KILL_SECONDS = 10.0
_STACKS_SIGNAL = signal.SIGUSR1


class Pulse:
    """Tells the watchdog that the event loop goes on."""

    def __init__(self, descriptor: int) -> None:
        """Write to the pipe that the watchdog reads."""
        self._descriptor = descriptor

    def start(self, orphaned: Callable[[], None]) -> None:
        """Beat in the running event loop until its end; call `orphaned` when the watchdog is gone."""
        loop = asyncio.get_running_loop()

        def beat() -> None:
            try:
                os.write(self._descriptor, b".")
            except BlockingIOError:  # it is stopped, and has not read for long
                pass
            except OSError:
                orphaned()
                return
            loop.call_later(PULSE_SECONDS, beat)

        beat()


@dataclass(slots=True)
class _Life:
    """One process of the worker."""

    pid: int
    pulse: int
    stacks: IO[bytes] | None
    began: float
    is_stopped: bool = False


class Watchdog:
    """Keeps one worker process until it ends by itself. `hang_seconds` 0: one that stands still is left alone."""

    def __init__(self, work: Callable[[Pulse], int], *, hang_seconds: float, parents_end: int | None = None) -> None:
        """`work` runs in the worker's process and returns its exit status.

        The end of the descriptor `parents_end` counts as SIGTERM.
        """
        self._work = work
        self._hang_seconds = hang_seconds
        self._parents_end = parents_end
        self._signals: list[int] = []
        self._is_stopping = False
        self._woken, self._wakes = os.pipe()

    def run(self) -> NoReturn:
        """Keep the worker running, and end as it ends: with its exit status, or by the signal that it was sent."""
        self._hear()
        restarts = 0
        while True:
            life = self._start()
            status = self._until_ended(life)
            lived = time.monotonic() - life.began
            os.close(life.pulse)
            if life.stacks is not None:
                life.stacks.close()
            if self._is_stopping or (status is not None and not _is_fault(status)):
                _end_like(status)
            restarts = 0 if lived > _HEALTHY_SECONDS else restarts + 1
            pause = RESTART_SECONDS[min(restarts, len(RESTART_SECONDS) - 1)]
            log.error("The worker is started again.", why=_words(status), pause_seconds=pause)
            until = time.monotonic() + pause
            while not self._is_stopping and (left := until - time.monotonic()) > 0:
                self._wait(left)
            if self._is_stopping:
                _end_like(status)

    def _hear(self) -> None:
        for end in (self._woken, self._wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        for number in (*stop_signals(), signal.SIGTSTP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _start(self) -> _Life:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        stacks: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            stacks = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the life)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        watchdog = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = CRASHED
            try:
                os.close(reading)
                self._become_worker(watchdog, stacks)
                code = _exit_status(lambda: self._work(Pulse(writing)))
            finally:
                os._exit(code)
        os.close(writing)
        return _Life(pid, reading, stacks, time.monotonic())

    def _become_worker(self, watchdog: int, stacks: IO[bytes] | None) -> None:
        # Of its own, so that Ctrl-C reaches it once: from the watchdog.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        os.close(self._woken)
        os.close(self._wakes)
        for number in (*stop_signals(), signal.SIGTSTP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it writes to the terminal from behind
        if stacks is not None:
            faulthandler.register(_STACKS_SIGNAL, file=stacks, all_threads=True)
        end_with_parent(signal.SIGKILL, watchdog)

    def _until_ended(self, life: _Life) -> int | None:
        """Watch over one life; return its wait status, None for one that even SIGKILL did not end."""
        silent = 0.0
        allowed = max(self._hang_seconds, STARTING_SECONDS)
        beats = True
        while True:
            began = time.monotonic()
            if self._wait(PULSE_SECONDS, *([life.pulse] if beats else [])):
                beats = _drain(life.pulse)
                silent, allowed = 0.0, self._hang_seconds
            else:
                # Who was stopped himself meanwhile, with the whole machine, must not count that time.
                silent += min(time.monotonic() - began, 2 * PULSE_SECONDS)
            status = self._status(life)
            if status is not None:
                return status
            self._pass_on(life)
            if life.is_stopped:
                silent = 0.0
            if self._hang_seconds > 0 and silent > allowed:
                return self._end_hung(life, silent)

    def _wait(self, seconds: float, *pulses: int) -> bool:
        """Wait until something happens, or for so long; tell whether one of `pulses` can be read."""
        watched = [*pulses, self._woken, *([] if self._parents_end is None else [self._parents_end])]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._woken in ready:
            _drain(self._woken)
        if self._parents_end is not None and self._parents_end in ready and not os.read(self._parents_end, 4096):
            self._parents_end = None
            self._signals.append(signal.SIGTERM)
        self._is_stopping = self._is_stopping or any(number != signal.SIGTSTP for number in self._signals)
        return any(pulse in ready for pulse in pulses)

    def _status(self, life: _Life) -> int | None:
        """Return the wait status of a process that has ended."""
        while True:
            pid, status = os.waitpid(life.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status) and not os.WIFCONTINUED(status):
                return status
            life.is_stopped = os.WIFSTOPPED(status)

    def _pass_on(self, life: _Life) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGTSTP:  # Ctrl-Z, and then `fg`
                os.kill(life.pid, signal.SIGSTOP)
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(life.pid, signal.SIGCONT)
            else:
                os.kill(life.pid, number)

    def _end_hung(self, life: _Life, silent: float) -> int | None:
        """End a process that stands still, with its stacks in the log."""
        os.kill(life.pid, _STACKS_SIGNAL)
        stacks = _Stacks(life.stacks)
        told = _until(stacks.whole, _STACKS_SECONDS) or stacks.so_far
        log.error("The worker stands still and is ended.", seconds=round(silent), stacks=told)
        os.kill(life.pid, signal.SIGKILL)
        status = _until(lambda: self._status(life), _KILL_SECONDS)
        if status is None:
            log.error("The worker cannot be ended: a call of it hangs in the kernel.", pid=life.pid)
        return status


def allow_open_files() -> None:
    """Let this process open as many files as the system allows, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _exit_status(work: Callable[[], int]) -> int:
    """Do the work; return the exit status that its end means."""
    try:
        return work()
    except typer.Exit as end:
        return end.exit_code
    except Exception:
        log.exception("The worker ends in a fault.")
        return CRASHED
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _end_like(status: int | None) -> NoReturn:
    """End this process as the worker's ended."""
    signal.set_wakeup_fd(-1)
    if status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) in stop_signals():
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    code = 1 if status is None or _is_fault(status) else os.WEXITSTATUS(status)
    raise typer.Exit(code)


def _is_fault(status: int) -> bool:
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == CRASHED


def _words(status: int | None) -> str:
    if status is None:
        return "it stands still"
    if os.WIFSIGNALED(status):
        return f"it was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return "it ended in a fault"


def _drain(descriptor: int) -> bool:
    """Read what is there; tell whether more may come."""
    with contextlib.suppress(BlockingIOError):
        while content := os.read(descriptor, 4096):
            if len(content) < 4096:
                return True
        return False
    return True


class _Stacks:
    """What a process writes of its threads, line by line: the main thread's lines come last, and nothing after them."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._seen = ""

    def whole(self) -> str | None:
        """Return them once the main thread's are there and no more came since the last look."""
        if self._file is None:
            return None
        # By offset: a position that we move is also the one at which the process writes on.
        content = os.pread(self._file.fileno(), _STACKS_BYTES, 0)
        before, self._seen = self._seen, content.decode(errors="replace")
        _, _, of_main_thread = self._seen.partition("Current thread")
        is_whole = "\n  File " in of_main_thread and self._seen == before
        return self.so_far if is_whole else None

    @property
    def so_far(self) -> str | None:
        """What was there at the last look, whole or not; None where nothing was."""
        return self._seen[-_STACKS_CHARACTERS:] or None


def _until(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look again and again, for so long, until something is found."""
    until = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < until:
        time.sleep(0.05)
    return found
