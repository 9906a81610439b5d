"""Run one external command and keep the end of what it said."""

import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runflow.worker.runtime.errors import InstallError

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_TAIL_LINES = 15


class CommandFailed(InstallError):
    """A command ended with an error; the message carries its last lines."""

    def __init__(self, what: str, code: int | None, tail: str) -> None:
        """Keep the exit `code` (None when it ran out of time) and the last lines."""
        self.code = code
        self.tail = tail
        ended = "ran out of time" if code is None else f"failed with exit code {code}"
        super().__init__(f"{what} {ended}:\n{tail or '(it said nothing)'}")


def without_credentials(text: str) -> str:
    """Return the text with `user:password@` removed from every URL in it."""
    return _CREDENTIALS.sub("", text)


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    show: bool = False,
) -> str:
    """Run a command to its end and return its standard output.

    `env` is added to the environment, `timeout` is in seconds, `on_line` is called with each line of standard error as
    it appears (carriage returns end a line too). With `show` the command draws its progress on our standard error
    itself, and nothing is returned. Raises CommandFailed, whose message starts with `what`; InstallError when the
    command does not exist.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=2 if show else subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
        )
    except FileNotFoundError:
        raise InstallError(f"{what} failed: the command `{command[0]}` is not installed.") from None
    killed = threading.Event()

    def expire() -> None:
        killed.set()
        process.kill()

    timer = threading.Timer(timeout, expire) if timeout else None
    reader = threading.Thread(target=_read_lines, args=(process, tail, on_line), daemon=True)
    try:
        if timer:
            timer.start()
        if not show:
            reader.start()
        output = process.stdout.read().decode(errors="replace") if process.stdout else ""
        code = process.wait()
        if not show:
            reader.join(timeout=5)
    finally:
        if timer:
            timer.cancel()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if killed.is_set():
        raise CommandFailed(what, None, "\n".join(tail))
    if code != 0:
        lines = [*tail] or ["(see the lines above)" if show else ""]
        raise CommandFailed(what, code, without_credentials("\n".join([*output.splitlines()[-5:], *lines]).strip()))
    return output


def _read_lines(process: subprocess.Popen[bytes], tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    assert process.stderr is not None
    pending = b""
    while chunk := os.read(process.stderr.fileno(), 65536):
        *lines, pending = re.split(rb"[\r\n]+", pending + chunk)
        for raw in lines:
            _take(raw, tail, on_line)
    _take(pending, tail, on_line)


def _take(raw: bytes, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    line = without_credentials(raw.decode(errors="replace").rstrip())
    if line:
        tail.append(line)
        if on_line:
            on_line(line)
