"""Is the picture too dark, or burnt out?

White paper and black night are no faults, so neither the mean nor the share of clipped pixels decides. Too much light
leaves three traces together: clipped areas that are reached gradually, through many almost white levels (around a white
that was meant, such as paper behind ink, lie edges; flat light colours have few levels); and no dark parts any more.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from runflow.evaluations.judges.picture import Picture
from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict, score_around

WHITE = 250
"""Levels from here on are clipped: an encoder moves 255 by a few."""
NEAR = 215
"""Levels from here to `WHITE` are almost white: half a stop below it, and less."""
BRIGHT = 0.999
"""The quantile of luma that says how bright the picture gets, but for single pixels."""
DARK_LIMIT = 64.0
"""sRGB 64 is a linear 5.1 %, nearly two stops below the middle grey of 18 % that exposure is metered for (ISO 2720)."""
DARK_BEST, DARK_WORST = 140.0, 10.0
BURNT_BEST, BURNT_LIMIT, BURNT_WORST = 0.0, 0.20, 0.70
"""Share of burnt pixels. This limit and the next three are measured: docs/evaluations.md."""
GRADUAL = 2.5
"""Almost white pixels for each pixel that borders on a clipped one."""
LEVELS = 12.0
"""How many levels the almost white pixels have (the exponential of their entropy; there are 35)."""
SHADOWS = 104.0
"""Level of the darkest tenth of the pixels that are not almost white."""


@dataclass(frozen=True, slots=True)
class Light:
    """What was measured. `brightest` and `shadows` are levels, `clipped` is a share; the rest as the limits above."""

    brightest: float
    clipped: float
    gradual: float
    levels: float
    shadows: float

    @property
    def burnt(self) -> float:
        """Share of the picture in which light was lost."""
        lost = self.gradual >= GRADUAL and self.levels >= LEVELS and self.shadows >= SHADOWS
        return self.clipped if lost else 0.0


class ClippingAndExposure:
    """Pictures in which light was lost."""

    name = "exposure"
    category = "exposure"
    description = "The image is neither too dark to see nor burnt out."
    weight = 1.0

    def judge(self, subject: Subject) -> Verdict | None:
        """Judge every picture with visible pixels."""
        picture = subject.picture
        if picture is None or (picture.opaque is not None and not picture.opaque.any()):
            return None
        found = measure(picture)
        if found.brightest < DARK_LIMIT:
            detail = (
                f"The image is too dark: all but a thousandth of it is below level {found.brightest:.0f} of 255; "
                f"{DARK_LIMIT:g} is the limit."
            )
            issue = Issue("exposure", "underexposed", detail, Severity.HIGH)
            return Verdict(False, score_around(found.brightest, DARK_BEST, DARK_LIMIT, DARK_WORST), detail, (issue,))
        burnt = found.burnt
        score = score_around(burnt, BURNT_BEST, BURNT_LIMIT, BURNT_WORST)
        if burnt > BURNT_LIMIT:
            detail = f"{burnt:.0%} of the image are burnt out to white; {BURNT_LIMIT:.0%} is the limit."
            return Verdict(False, score, detail, (Issue("exposure", "overexposed", detail, Severity.HIGH),))
        score = min(score, score_around(found.brightest, DARK_BEST, DARK_LIMIT, DARK_WORST))
        reasoning = (
            f"Its brightest parts reach level {found.brightest:.0f} of 255, and {burnt:.0%} of it are burnt out."
        )
        return Verdict(True, score, reasoning, strength="well exposed" if score >= 0.9 else None)


def measure(picture: Picture) -> Light:
    """Measure a picture that has visible pixels."""
    counts = _counts(picture)
    total = int(counts.sum())
    brightest = float(np.searchsorted(np.cumsum(counts), BRIGHT * total))
    almost = counts[NEAR:WHITE]
    below = np.cumsum(counts[:NEAR])
    shadows = float(np.searchsorted(below, 0.1 * below[-1])) if below[-1] else float(NEAR)
    # The border's length grows with the side of a picture and the areas with its square: both as in the view.
    in_view = picture.view.size / total
    gradual = float(almost.sum() * in_view / max(1, _border(picture.view >= WHITE)))
    return Light(brightest, float(counts[WHITE:].sum() / total), gradual, _spread(almost), shadows)


def _counts(picture: Picture) -> npt.NDArray[np.int64]:
    mask = None if picture.opaque is None else Image.fromarray(picture.opaque)
    return np.asarray(picture.grey.histogram(mask), np.int64)


def _border(clipped: npt.NDArray[np.bool_]) -> int:
    """Count the pixels next to clipped ones."""
    near = np.zeros_like(clipped)
    near[1:] |= clipped[:-1]
    near[:-1] |= clipped[1:]
    near[:, 1:] |= clipped[:, :-1]
    near[:, :-1] |= clipped[:, 1:]
    return int((near & ~clipped).sum())


def _spread(counts: npt.NDArray[np.int64]) -> float:
    """Return over how many levels the pixels are spread."""
    shares = counts[counts > 0] / max(1, int(counts.sum()))
    return float(np.exp(-(shares * np.log(shares)).sum())) if shares.size else 0.0
