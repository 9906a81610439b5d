"""When a delivery is tried again, and when it is given up. Pure: it returns decisions, others act on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from runflow.deliveries.sending.outcome import FailureReason, Outcome

DELAYS: tuple[float, ...] = (0, 10, 60, 300, 1800, 7200, 21600, 86400)
"""Seconds before each attempt, counted from the end of the one before (docs/deliveries.md, "Schedule")."""

MAX_ATTEMPTS = len(DELAYS)
JITTER = 0.1
"""Delays vary by ±10 %, so that what failed together does not come back together."""
TIMEOUT_SECONDS = 15.0
"""For a whole attempt."""
KEEP_BYTES = 2048
"""How much of an answer is kept."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after this many seconds. `reason` and `detail` tell what went wrong so far."""

    after_seconds: float
    reason: FailureReason
    detail: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The delivery failed for good."""

    reason: FailureReason
    detail: str


Decision = Succeeded | Retry | GiveUp


def decide(
    outcome: Outcome, attempt_number: int, max_attempts: int, luck: float, delays: Sequence[float] = DELAYS
) -> Decision:
    """Say what follows from the outcome of attempt `attempt_number` (from 1). `luck` in 0..1 sets the jitter."""
    if outcome.reason is None:
        return Succeeded()
    message = outcome.message or ""
    if outcome.is_final:
        return GiveUp(outcome.reason, f"{message} It is not tried again.")
    if attempt_number >= max_attempts:
        return GiveUp(FailureReason.EXHAUSTED, f"All {max_attempts} attempts failed. The last one: {message}")
    delay = delays[min(attempt_number, len(delays) - 1)]
    return Retry(delay * (1 + JITTER * (2 * luck - 1)), outcome.reason, message)
