"""When a webhook is switched off because nobody is at home. Pure.

A webhook whose receiver is gone would cost an attempt schedule for every event for ever. It is switched off when the
receiver says so (410), or when nothing has arrived for days although it was tried often enough; the reason is on its
record, and `PATCH {"disabled_at": null}` switches it on again. Callbacks have no such rule: each has a target of its
own.
"""

from dataclasses import dataclass
from enum import StrEnum

from runflow.deliveries.sending.outcome import GONE, Outcome
from runflow.deliveries.sending.schedule import MAX_ATTEMPTS

FAILING_SECONDS = 3 * 86400.0
"""Longer than all attempts at one message take, so one message alone never switches a webhook off."""
FAILING_ATTEMPTS = MAX_ATTEMPTS
"""A webhook that is triggered once in a while is not judged by a single attempt."""


class DisabledReason(StrEnum):
    """Why a webhook is off."""

    MANUAL = "manual"
    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Health:
    """How a webhook has done since its last success: failed attempts, and seconds since the first of them."""

    failed_attempts: int
    failing_seconds: float


@dataclass(frozen=True, slots=True)
class SwitchOff:
    """A webhook is to be switched off; `reason` is a sentence for its record."""

    code: DisabledReason
    reason: str


def judge(outcome: Outcome, health: Health) -> SwitchOff | None:
    """Say whether a failed attempt, after which a webhook's health is `health`, switches it off."""
    if outcome.status == GONE:
        return SwitchOff(
            DisabledReason.GONE,
            f"{outcome.message} 410 means that messages are no longer wanted. Set disabled_at to null to try again.",
        )
    if health.failing_seconds < FAILING_SECONDS or health.failed_attempts < FAILING_ATTEMPTS:
        return None
    return SwitchOff(
        DisabledReason.FAILING,
        f"All of the last {health.failed_attempts} attempts failed, over {health.failing_seconds / 86400:.1f} days. "
        f"The last one: {outcome.message} Mend the receiver, then set disabled_at to null.",
    )
