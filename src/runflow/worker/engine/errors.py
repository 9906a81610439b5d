"""What can go wrong between us and an engine.

A node's own exception is none of these: it is an `Execution` that failed.
"""

from runflow.worker.failure import FailureCode


class EngineError(Exception):
    """The engine could not do what was asked. The message names the cause and the next step."""


class EngineStartFailed(EngineError):
    """The engine did not come up. The message carries the cause read from its last log lines, and the next step."""


class EngineUnreachable(EngineError):
    """The engine does not answer on its address."""


class EngineRefused(EngineError):
    """The engine answered with an error status that has no meaning in the protocol; `status` is that status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class EngineCrashed(EngineError):
    """The engine died, or lost the prompt, while it had work. The run may be tried again on another lease.

    `code` is `OUT_OF_MEMORY` where memory was the cause, else `ENGINE_CRASHED`; `log_tail` is for the operator only.
    """

    def __init__(self, message: str, *, code: FailureCode = FailureCode.ENGINE_CRASHED, log_tail: str = "") -> None:
        self.code = code
        self.log_tail = log_tail
        super().__init__(message)


class FileMissing(EngineError):
    """The engine does not have the file that was asked for."""
