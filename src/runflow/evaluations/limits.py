"""Limits, defaults and failure codes that bodies, automatic evaluations and the runner share."""

from enum import StrEnum

MAX_REFERENCES = 4
"""Reference images of one evaluation (docs/api/evaluations.md, "Submitting")."""
MAX_TEXT = 20_000
"""Characters of a text."""
MAX_REASON = 2000
"""Characters of a feedback's reason (docs/api/evaluations.md, "Feedback")."""
MAX_ATTRIBUTES_BYTES = 64 * 1024
"""JSON bytes of `input_attributes`."""
MAX_ATTEMPTS = 3
"""Attempts at one evaluation, lost ones included."""
TASK_TYPE = "image"
"""`task_type` of automatic evaluations whose workflow names none."""


class FailureCode(StrEnum):
    """`failure_code` of an evaluation."""

    IMAGE_FETCH_FAILED = "IMAGE_FETCH_FAILED"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    JUDGING_FAILED = "JUDGING_FAILED"
    EVALUATOR_LOST = "EVALUATOR_LOST"
    INTERNAL = "INTERNAL"


class EvaluationFailed(Exception):
    """An attempt at an evaluation failed; `message` says what failed and what to do next.

    `is_final`: another attempt would end the same way.
    """

    def __init__(self, code: FailureCode, message: str, *, is_final: bool) -> None:
        self.code = code
        self.message = message
        self.is_final = is_final
        super().__init__(message)
