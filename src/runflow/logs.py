"""Log lines: one event with its values, for people on a terminal and as JSON everywhere else.

What is written to stderr after `configure` can fail without anybody noticing: a full disk, a closed terminal or a pipe
whose reader is gone must end nothing but the lines themselves. A pipe that nobody reads must hold up nothing either.
"""

import contextlib
import io
import json
import logging
import os
import select
import stat
import sys
import threading
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

FOREIGN_LEVEL = logging.WARNING
"""Of what libraries log through Python's own `logging`: from this level on."""


PATIENCE_SECONDS = 0.2
"""How long a line waits for the reader of a pipe, who may only be slow; those behind it no more, until it reads on."""


class _Pipe:
    """A pipe's end of our own, on which no write waits for long: other processes keep theirs as it is."""

    def __init__(self, number: int) -> None:
        """Open the pipe behind a descriptor anew. Raises OSError where it is none, or another user's."""
        if not stat.S_ISFIFO(os.fstat(number).st_mode):
            raise OSError("no pipe")
        self._number = os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lost = 0
        self._torn = False

    def write(self, text: str) -> None:
        before = self._said_before() if self._lost else ""
        if self._put(before + text, 0 if before else PATIENCE_SECONDS):
            self._lost, self._torn = 0, False
        else:
            self._lost += text.count("\n")

    def _said_before(self) -> str:
        told = f"{self._lost} lines of the log were lost: nobody read them"
        end_of_torn = "\n" if self._torn else ""
        return f"{end_of_torn}{json.dumps({'event': told, 'level': 'warning'}) if writes_json() else told}\n"

    def _put(self, text: str, patience: float) -> bool:
        whole = rest = memoryview(text.encode(errors="backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                if not poll.poll(patience * 1000):
                    self._torn = self._torn or len(rest) < len(whole)
                    return False
        return True

    def close(self) -> None:
        os.close(self._number)


class Sink(io.TextIOBase):
    """A stream on which writing never fails: what cannot be written is lost, and whoever wrote it goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; None where the process was started without one."""
        self._stream = stream if stream is not None else open(os.devnull, "w")  # noqa: PTH123, SIM115
        self._pipe: _Pipe | None = None
        with contextlib.suppress(OSError, ValueError):
            self._pipe = _Pipe(self._stream.fileno())

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            if self._pipe is not None:
                self._pipe.write(text)
            else:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def close(self) -> None:
        """Give back what the sink opened itself; the stream stays open."""
        super().close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def isatty(self) -> bool:
        """Tell whether people read it."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the descriptor below. Raises OSError where there is none."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property of the stream below
        """The encoding of the stream below."""
        return self._stream.encoding or "utf-8"


class _Foreign(logging.Handler):
    """Passes on what libraries log, so that it looks like every other line."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # whoever logs goes on
            told: dict[str, Any] = {} if record.exc_info is None else {"exc_info": record.exc_info}
            structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **told)


_is_json = False


def writes_json() -> bool:
    """Tell whether stderr holds JSON lines: then people's sentences are events there, too."""
    return _is_json


def configure(log_format: str = "auto", *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog's lines, and those of Python's `logging`, to stderr.

    `log_format`: `json`, `console` or `auto` (console on a terminal). From then on `sys.stderr` is a `Sink`.
    """
    global _is_json
    out = _sink(stream)
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    _is_json = not console
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer()
    if console:
        # structlog's own choice, where Rich is installed, shows every local variable: tokens, secrets, prompts.
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),  # a line in one write
        cache_logger_on_first_use=True,
    )
    _take_foreign_lines()
    sys.excepthook = sys.__excepthook__ if console else _log_crash
    # Who has set another hook here goes on with it.
    if threading.excepthook in (threading.__excepthook__, _log_end_of_thread):
        threading.excepthook = threading.__excepthook__ if console else _log_end_of_thread
    if sys.unraisablehook in (sys.__unraisablehook__, _log_unraisable):
        sys.unraisablehook = sys.__unraisablehook__ if console else _log_unraisable


def _sink(stream: TextIO | None) -> Sink:
    if stream is not None:
        return Sink(stream)
    if not isinstance(sys.stderr, Sink):
        sys.stderr = cast(TextIO, Sink(sys.stderr))
    return cast(Sink, sys.stderr)


def _take_foreign_lines() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Foreign) for handler in root.handlers):
        root.addHandler(_Foreign(FOREIGN_LEVEL))
    logging.captureWarnings(True)


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("the process ends in a fault", exc_info=(kind, error, traceback))


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = None if ended.thread is None else ended.thread.name
    told = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    structlog.get_logger().error("a thread ended in a fault", thread=name, exc_info=told)


def _log_unraisable(lost: "sys.UnraisableHookArgs") -> None:
    told = None if lost.exc_value is None else (lost.exc_type, lost.exc_value, lost.exc_traceback)
    structlog.get_logger().error("a fault where nobody can be told of it", where=lost.err_msg, exc_info=told)
