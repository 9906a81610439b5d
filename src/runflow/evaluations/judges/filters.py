"""Filters over grey levels, in numpy alone: a few of them are not worth a library of 60 MB."""

import numpy as np

from runflow.evaluations.judges.picture import Levels


def gaussian(levels: Levels, sigma: float) -> Levels:
    """Return the levels blurred by a Gaussian of `sigma` pixels, edges repeated."""
    radius = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    return _along(_along(levels, taps, 0), taps, 1)


def _along(levels: Levels, taps: "np.ndarray[tuple[int], np.dtype[np.float64]]", axis: int) -> Levels:
    radius = len(taps) // 2
    pads = [(0, 0), (0, 0)]
    pads[axis] = (radius, radius)
    padded = np.pad(levels, pads, mode="edge")
    size = levels.shape[axis]
    result = np.zeros_like(levels)
    for start, tap in enumerate(taps):
        part = padded[start : start + size] if axis == 0 else padded[:, start : start + size]
        result += np.float32(tap) * part
    return result


def gradient(levels: Levels) -> tuple[Levels, Levels]:
    """Return the central differences (down, right) of the inner pixels, in levels per pixel."""
    half = np.float32(0.5)
    down = (levels[2:, 1:-1] - levels[:-2, 1:-1]) * half
    right = (levels[1:-1, 2:] - levels[1:-1, :-2]) * half
    return down, right


def block_means(levels: Levels, side: int) -> Levels:
    """Return the means of whole blocks of `side` × `side` pixels; what does not fill a block is left out."""
    rows, columns = levels.shape[0] // side, levels.shape[1] // side
    blocks = levels[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
