"""Why an evaluation came to no verdict."""

from enum import StrEnum


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
