"""Log lines: one event with its values, for people on a terminal and as JSON everywhere else."""

import logging
import sys
from typing import TextIO

import structlog


def configure(log_format: str = "auto", *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog's lines to stderr. `log_format`: `json`, `console` or `auto` (console on a terminal)."""
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
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
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
