"""How sharp are the sharpest edges?

At an edge that was blurred by a Gaussian of σ pixels, blurring once more by σ₀ weakens the gradient by the factor
√(1 + σ₀² / σ²), whatever the edge's contrast (Zhuo and Sim, "Defocus map estimation from a single image", Pattern
Recognition 44, 2011). So each edge tells its own σ. A picture is blurred when even its sharpest edges are wide: a
background out of focus is none of this judge's business, and where there are no edges there is nothing to judge.
"""

import numpy as np

from runflow.evaluations.judges.filters import gaussian, gradient
from runflow.evaluations.judges.picture import VIEW_SIDE, Levels
from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict, score_around

REBLUR = 1.5
"""σ₀, in pixels of the view."""
EDGE_LEVELS = 1.5
"""Gradient of an edge after the second blur, in levels per pixel, from which on it counts."""
WIDEST = 8.0
"""Edges wider than this σ are shading, not edges."""
SHARPEST = 0.10
"""The quantile of the edges' σ that speaks for the picture: its sharpest tenth."""
FEWEST_EDGES = 0.0005
"""Share of the pixels that have to be edges."""
BEST, LIMIT, WORST = 0.6, 1.8, 3.0
"""σ of the sharpest edges, in pixels of a view of at most 1024: measured, see docs/evaluations.md."""


class Blur:
    """Pictures without a sharp edge."""

    name = "blur"
    category = "sharpness"
    description = "The sharpest edges of the image are sharp when it is seen whole."
    weight = 1.5

    def judge(self, subject: Subject) -> Verdict | None:
        """Judge pictures that have edges."""
        if subject.picture is None:
            return None
        sigma = edge_sigma(subject.picture.view)
        if sigma is None:
            return None
        score = score_around(sigma, BEST, LIMIT, WORST)
        measured = f"The sharpest edges have a width of σ = {sigma:.1f} pixels at {VIEW_SIDE} pixels and less"
        if sigma <= LIMIT:
            strength = "sharp edges" if sigma <= (BEST + LIMIT) / 2 else None
            return Verdict(True, score, f"{measured} (limit {LIMIT}).", strength=strength)
        detail = f"Nothing in the image is sharp. {measured}; {LIMIT} is the limit."
        severity = Severity.HIGH if sigma > (LIMIT + WORST) / 2 else Severity.MEDIUM
        return Verdict(False, score, detail, (Issue("sharpness", "blurred", detail, severity),))


def edge_sigma(view: Levels) -> float | None:
    """Return the σ of the sharpest tenth of the edges, in pixels; None where there are too few edges to tell."""
    if min(view.shape) < 16:
        return None
    down, right = gradient(view)
    again_down, again_right = gradient(gaussian(view, REBLUR))
    again = np.hypot(again_down, again_right)
    edges = _ridges(again, again_down, again_right) & (again[1:-1, 1:-1] >= EDGE_LEVELS)
    if edges.sum() < max(16, FEWEST_EDGES * view.size):
        return None
    # The first blur's gradient in the direction of the second's: noise across the edge does not count as sharpness.
    along = (down * again_down + right * again_right) / np.maximum(again, 1e-6)
    ratio = (along / np.maximum(again, 1e-6))[1:-1, 1:-1][edges]
    # Central differences widen an edge by σ² = 1/3 (two boxes of one pixel); both gradients have it.
    squared = REBLUR**2 / np.maximum(ratio**2 - 1, (REBLUR / WIDEST) ** 2 / 4) - 1 / 3
    sigma = np.sqrt(np.maximum(squared, 0))
    sigma = sigma[sigma < WIDEST]
    if sigma.size < max(16, FEWEST_EDGES * view.size):
        return None
    return float(np.quantile(sigma, SHARPEST))


def _ridges(strength: Levels, down: Levels, right: Levels) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    """Tell the inner pixels at which the gradient is largest in its own direction."""
    inner = strength[1:-1, 1:-1]
    steep = np.abs(down[1:-1, 1:-1]) >= np.abs(right[1:-1, 1:-1])
    vertical = (inner >= strength[:-2, 1:-1]) & (inner > strength[2:, 1:-1])
    horizontal = (inner >= strength[1:-1, :-2]) & (inner > strength[1:-1, 2:])
    return np.where(steep, vertical, horizontal)
