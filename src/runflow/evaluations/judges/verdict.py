"""What a judge says, and the steps of a judging process beside its judges: server and process both name them."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much an issue hurts."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault. `category` and `subcategory` are stable words to count by, `detail` is a sentence for people."""

    category: str
    subcategory: str
    detail: str
    severity: Severity = Severity.MEDIUM


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found.

    - `passed`: whether the picture is good enough in this judge's eyes.
    - `score`: 0 (worst) to 1 (best); 0.5 is where `passed` turns.
    - `reasoning`: one or two sentences with the numbers that decided.
    - `confidence`: 0..1, how sure the judge is.
    - `strength`: what is good about the picture, in a few words, where it is worth telling.
    """

    passed: bool
    score: float
    reasoning: str
    issues: tuple[Issue, ...] = ()
    confidence: float = 1.0
    strength: str | None = None


def score_around(value: float, best: float, limit: float, worst: float) -> float:
    """Return a score that falls from 1 at `best` over 0.5 at `limit` to 0 at `worst`, straight in between."""
    if (value - limit) * (worst - limit) > 0:
        return max(0.0, 0.5 - 0.5 * (value - limit) / (worst - limit))
    return min(1.0, 0.5 + 0.5 * (value - limit) / (best - limit))


OPENING = "opening"
"""Before the first judge: decoding."""
PREVIEW = "preview"
"""After the last judge: small copies for judges that look from elsewhere."""
