"""How noisy are the calmest parts?

The estimate is Immerkær's ("Fast noise variance estimation", Computer Vision and Image Understanding 64, 1996): the
mean absolute answer of a mask that ignores constant, linear and quadratic structure. It is taken in tiles at full size,
and the calmest tiles speak for the picture, because what it reads in textured ones is texture. Noise is white, texture
is not: averaging 2 × 2 pixels halves the noise and leaves texture, which tells a fabric from a noisy sky.
"""

import numpy as np

from runflow.evaluations.judges.filters import block_means
from runflow.evaluations.judges.picture import Bytes, Levels
from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict, score_around

TILE = 64
MOST_TILES = 400
"""Of a large picture so many tiles are looked at, evenly spread."""
CALMEST = 0.25
"""The quantile of the tiles' noise that speaks for the picture."""
DARKEST, BRIGHTEST = 8, 247
"""In tiles beyond these means the noise is cut off."""
WHITE = 1.5
"""Noise falls to a half when 2 × 2 pixels are averaged (white: 2.0), texture hardly (1.0 and less)."""
BEST, LIMIT, WORST = 1.0, 8.0, 30.0
"""Standard deviation in levels of 255. The limit is a peak signal-to-noise ratio of 30 dB: 255 / 10^(30/20) = 8.06."""


class Noise:
    """Pictures with visible noise all over."""

    name = "noise"
    category = "noise"
    description = "The calm parts of the image are free of noise."
    weight = 0.4

    def judge(self, subject: Subject) -> Verdict | None:
        """Judge pictures that are large enough to hold a few tiles."""
        if subject.picture is None:
            return None
        found = noise_sigma(subject.picture.luma)
        if found is None:
            return None
        sigma, whiteness = found
        if whiteness < WHITE:
            reasoning = "Its calmest parts are textured (what varies there is no white noise), which would hide noise."
            return Verdict(True, 1.0 if sigma <= BEST else 0.8, reasoning, confidence=0.5)
        score = score_around(sigma, BEST, LIMIT, WORST)
        measured = f"The calm parts have a noise of σ = {sigma:.1f} of 255 levels"
        if sigma <= LIMIT:
            return Verdict(True, score, f"{measured} (limit {LIMIT:g}).", strength="clean" if sigma <= 2 else None)
        detail = f"The image is noisy. {measured}; {LIMIT:g} is the limit."
        severity = Severity.HIGH if sigma > 2 * LIMIT else Severity.MEDIUM
        return Verdict(False, score, detail, (Issue("noise", "noisy", detail, severity),))


def noise_sigma(luma: Bytes) -> tuple[float, float] | None:
    """Return the noise of the calm parts in levels, and how white it is; None where no tile can tell."""
    found = []
    for tile in _tiles(luma):
        levels = tile.astype(np.float32)
        if DARKEST <= levels.mean() <= BRIGHTEST:
            found.append((immerkaer(levels), immerkaer(block_means(levels, 2))))
    if not found:
        return None
    fine, coarse = np.array(sorted(found)).T
    # From the same tiles: the whiteness of the calm part, not of the picture.
    count = max(1, round(2 * CALMEST * len(fine)))
    return float(np.median(fine[:count])), float(np.median(fine[:count] / np.maximum(coarse[:count], 0.25)))


def immerkaer(levels: Levels) -> float:
    """Return Immerkær's estimate of the standard deviation of white noise."""
    rows = levels[:-2] - 2 * levels[1:-1] + levels[2:]
    answer = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(answer).mean())


def _tiles(luma: Bytes) -> list[Bytes]:
    height, width = luma.shape
    if height < TILE or width < TILE:
        return [luma] if min(height, width) >= 16 else []
    places = [(top, left) for top in range(0, height - TILE + 1, TILE) for left in range(0, width - TILE + 1, TILE)]
    step = max(1, -(-len(places) // MOST_TILES))
    return [luma[top : top + TILE, left : left + TILE] for top, left in places[::step]]
