"""Run one external command and keep the end of what it said; what can go wrong while a runtime is built."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")


class InstallError(Exception):
    """A runtime could not be built. The message names what failed, where, and the next step.

    `may_pass`: whether it may go well a moment later; None: the message tells, which is that of a tool.
    """

    may_pass: bool | None = None


class SourceRefused(InstallError):
    """The asked commit, version or source cannot be had here. The message says why and what can be had."""


class Declined(InstallError):
    """The person at the terminal, or the lack of one, said no to a large download."""


class EnvironmentDamaged(InstallError):
    """The Python environment has everything, but it does not import. The message says what and why."""


_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_TAIL_LINES = 15
_BOUND = Path(__file__).with_name("bound_command.py")
_LAST_WORDS_SECONDS = 120.0
"""How long is waited for a thread whose commands were killed: what it holds must not be another's before it ends."""


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
    alone: bool = False,
) -> str:
    """Run a command to its end and return its standard output.

    `env` is added to the environment, `timeout` is in seconds, `on_line` is called with each line of either stream as
    it appears (carriage returns end a line too), one call at a time. With `show` the command draws its progress on our
    standard error itself, and nothing is returned. A command that is `alone` gets no environment but `env`, and what it
    started ends with it when it runs out of time. Raises CommandFailed, whose message starts with `what`; InstallError
    when the command does not exist. On Linux it ends with us, however we end.
    """
    process = subprocess.Popen(
        bound(command, what),
        env={**({} if alone else os.environ), **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=2 if show else subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        start_new_session=alone,
    )
    work: _Work | None = getattr(_of_thread, "work", None)
    if work is not None:
        work.began(process, alone=alone)
    said = _Said(on_line)
    readers = [
        threading.Thread(target=said.read, args=(stream, keep), daemon=True)
        for stream, keep in ((process.stdout, True), (process.stderr, False))
        if stream is not None
    ]
    try:
        for reader in readers:
            reader.start()
        code: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if alone else process.kill()
            process.wait()
    for reader in readers:
        reader.join(timeout=30)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    if code != 0:
        raise CommandFailed(what, code, "(see the lines above)" if show else "\n".join(said.tail))
    return "\n".join(said.output)


def bound(command: Sequence[str | Path], what: str) -> list[str]:
    """Return a command that ends when the thread does that starts it, on Linux however this process ends.

    Raises InstallError, which begins with `what`, where the command does not exist.
    """
    words = [str(part) for part in command]
    if shutil.which(words[0]) is None:
        raise InstallError(f"{what} failed: the command `{words[0]}` is not installed.")
    if sys.platform != "linux":
        return words
    return [sys.executable, "-I", "-S", str(_BOUND), str(os.getpid()), *words]


class _Work:
    """What one thread does, for who may want it to end: its command is killed, and each that it begins after that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._alone = False
        self._stopped = False

    def began(self, process: "subprocess.Popen[bytes]", *, alone: bool) -> None:
        with self._lock:
            self._process, self._alone = process, alone
            if self._stopped:
                self._kill()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._kill()

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if self._alone else process.kill()


_of_thread = threading.local()


def killed_with_its_thread(process: "subprocess.Popen[bytes]") -> None:
    """Let a command of this thread end where the work of `in_thread` is called off."""
    work: _Work | None = getattr(_of_thread, "work", None)
    if work is not None:
        work.began(process, alone=False)


async def in_thread(work: Callable[[], T]) -> T:
    """Do what blocks in a thread of its own and return what it returns; when cancelled, its commands are killed."""
    held = _Work()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        done.set_exception(error) if error is not None else done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        _of_thread.work = held
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # nobody is left who waits
            loop.call_soon_threadsafe(settle, result, failed)

    # No thread of the executor: a process that ends would wait for those, and an installation may take an hour.
    threading.Thread(target=body, name="command", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        held.stop()
        with contextlib.suppress(BaseException):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await asyncio.shield(done)
        raise


class _Said:
    """Collects what a command says, line by line, without credentials."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.output: list[str] = []
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        self._one_at_a_time = threading.Lock()

    def read(self, stream: IO[bytes], keep: bool) -> None:
        pending = b""
        while chunk := os.read(stream.fileno(), 65536):
            *lines, pending = re.split(rb"[\r\n]+", pending + chunk)
            for line in lines:
                self._take(line, keep)
        self._take(pending, keep)

    def _take(self, raw: bytes, keep: bool) -> None:
        line = raw.decode(errors="replace").rstrip()
        if not line:
            return
        with self._one_at_a_time:
            if keep:
                self.output.append(line)
            self.tail.append(without_credentials(line))
            if self._on_line:
                self._on_line(without_credentials(line))
