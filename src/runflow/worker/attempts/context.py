"""What the attempts of a worker share, and why one of them is stopped before its end."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from runflow.protocol.completions import Next
from runflow.worker.attempts.execute import Executor
from runflow.worker.attempts.expected_outputs import ExpectedOutputs
from runflow.worker.attempts.heartbeat import HeartbeatTiming
from runflow.worker.attempts.prepare import Fetching
from runflow.worker.runtimes import WorkerRuntimes
from runflow.worker.server_api.connection import Connection


class Stop(StrEnum):
    """Why an attempt is stopped before its end."""

    CANCELLED = "cancelled"
    """The server asked for it."""
    TIME_UP = "time_up"
    GIVEN_BACK = "given_back"
    """It has not begun, and shall not here."""
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """The lease is no longer ours: say nothing more."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What attempts share. `staging` is a folder of the worker, in which each attempt has its own."""

    connection: Connection
    executor: Executor
    fetching: Fetching
    timing: HeartbeatTiming
    staging: Path
    expected: ExpectedOutputs
    runtimes: WorkerRuntimes | None
    """Those that it builds, None where it builds none."""
    room: Callable[[], Next | None]
    """What a completion asks for: the next run, if there is room for it."""
    take: Callable[[dict[str, Any]], None]
    """Takes the run that came with the answer to a completion."""
