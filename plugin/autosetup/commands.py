"""Running git and pip: no shell, no prompt, a limit of time and of what is kept of the output, an end on cancel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..cancellation import Cancelled

_KEPT_LINES = 60
_LONGEST_LINE = 2000
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 30
"""For how long the output of a program that has ended is read: it may have left another one that holds it open."""


class CommandFailed(Exception):
    """A program failed; the message ends with the last lines that it wrote."""

    def __init__(self, what: str, reason: str, lines: Sequence[str] = ()) -> None:
        tail = "\n".join(line for line in lines if line.strip())[-1500:]
        super().__init__(f"{what} {reason}" + (f":\n{tail}" if tail else "."))


def run(
    command: Sequence[str],
    *,
    what: str,
    environment: Mapping[str, str],
    cancelled: threading.Event,
    seconds: float,
    folder: Path | None = None,
    check: Callable[[], None] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end and return what it wrote, or the end of it. Blocks: call it in a thread.

    `check` is called now and then; what it raises ends the program.

    Raises:
        CommandFailed: it could not be started, failed, or took longer than `seconds`.
        Cancelled: `cancelled` was set; the program and what it started are ended.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own, so that what it starts can be ended with it.
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise CommandFailed(what, f"cannot be started ({error.strerror})") from error
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    reader = threading.Thread(target=_read, args=(process, lines, on_line), daemon=True)
    reader.start()
    deadline = time.monotonic() + seconds
    try:
        while process.poll() is None:
            if cancelled.is_set():
                raise Cancelled
            if time.monotonic() > deadline:
                raise CommandFailed(what, f"took longer than {seconds / 60:.0f} minutes", lines)
            if check is not None:
                check()
            try:
                process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        _end(process)
        reader.join(2)
        raise
    reader.join(_LAST_WORDS_SECONDS)
    if process.returncode:
        raise CommandFailed(what, f"failed ({process.returncode})", lines)
    return "\n".join(lines)


def _read(process: subprocess.Popen[bytes], lines: deque[str], on_line: Callable[[str], None] | None) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        rest = b""
        while chunk := output.read1(1 << 16):  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in whole:
                text = line[:_LONGEST_LINE].decode("utf-8", "replace")
                lines.append(text)
                if on_line is not None:
                    on_line(text)
        if rest:
            lines.append(rest.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()
    process.wait(10)
