"""Has the picture the size, or the shape, that was asked for?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict, score_around

GRID = 16
"""Latent models make multiples of 8 (Rombach et al. 2022, an autoencoder of factor 8) or 16 pixels (patches of 2 × 2
latents, e.g. SD3 and FLUX): a request that is no multiple is missed by less than this."""
ASPECT_TOLERANCE = 0.03
"""What the grid does to the shape of a picture with a side of 512: 15 / 512."""
WORST_ASPECT = 0.30
LARGEST_FACTOR = 8
_RATIO = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[:x×/]\s*(\d+(?:\.\d+)?)\s*", re.IGNORECASE)
_SIDES = {"width": ("width", "image_width", "output_width"), "height": ("height", "image_height", "output_height")}
_ASPECTS = ("aspect_ratio", "aspect", "ratio")
_SIZES = ("size", "image_size", "resolution", "output_size")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: both sides, or only the shape (width / height), or one side."""

    width: float | None = None
    height: float | None = None
    aspect: float | None = None


def requested(attributes: Mapping[str, Any]) -> Request | None:
    """Return what the attributes ask for, None where they do not name a size.

    Understood: `width` and `height`, `size` as `1024x768` or one number for a square, `aspect_ratio` as `16:9` or 1.78.
    """
    known = {str(key).lower(): value for key, value in attributes.items()}
    width, height = (_first(known, names) for names in _SIDES.values())
    if width is None and height is None:
        for name in _SIZES:
            if pair := _pair(known.get(name)):
                return Request(*pair, aspect=pair[0] / pair[1])
    if width is not None or height is not None:
        return Request(width, height, width / height if width and height else None)
    for name in _ASPECTS:
        pair = _pair(known.get(name))
        aspect = pair[0] / pair[1] if pair else _number(known.get(name))
        if aspect:
            return Request(aspect=aspect)
    return None


class RequestedSize:
    """Pictures of another size or shape than was asked for."""

    name = "requested_size"
    category = "size"
    description = "The image has the width, height and aspect ratio that the inputs ask for."
    weight = 1.5

    def judge(self, subject: Subject) -> Verdict | None:
        """Judge where the request names a size or a shape."""
        picture, request = subject.picture, requested(subject.input_attributes)
        if picture is None or request is None:
            return None
        width, height = picture.width, picture.height
        if request.aspect is not None:
            off = max(width / height / request.aspect, request.aspect * height / width) - 1
            if off > ASPECT_TOLERANCE and not _close(request, width, height):
                detail = (
                    f"The image is {width} × {height}, a ratio of {width / height:.2f}; "
                    f"asked for was {request.aspect:.2f}."
                )
                issue = Issue("size", "wrong_aspect", detail, Severity.HIGH)
                return Verdict(False, score_around(off, 0, ASPECT_TOLERANCE, WORST_ASPECT), detail, (issue,))
        if request.width is None and request.height is None:
            return Verdict(True, 1.0, f"The image is {width} × {height} and has the shape that was asked for.")
        if _close(request, width, height):
            return Verdict(True, 1.0, f"The image is {width} × {height}, as was asked for.")
        factor = _factor(request, width, height)
        if factor is not None:
            return Verdict(True, 0.8, f"The image is {width} × {height}: what was asked for, enlarged {factor} times.")
        wanted = " × ".join("any" if side is None else f"{side:g}" for side in (request.width, request.height))
        detail = f"The image is {width} × {height}; asked for was {wanted}."
        return Verdict(False, 0.25, detail, (Issue("size", "wrong_size", detail, Severity.MEDIUM),))


def _close(request: Request, width: int, height: int) -> bool:
    pairs = [(request.width, width), (request.height, height)]
    known = [(wanted, found) for wanted, found in pairs if wanted is not None]
    return bool(known) and all(abs(wanted - found) < GRID for wanted, found in known)


def _factor(request: Request, width: int, height: int) -> int | None:
    """An upscaler behind the sampler gives a whole multiple of what the inputs name."""
    for factor in range(2, LARGEST_FACTOR + 1):
        larger = [side and side * factor for side in (request.width, request.height)]
        pairs = [(wanted, found) for wanted, found in zip(larger, (width, height), strict=True) if wanted]
        if all(abs(wanted - found) < GRID * factor for wanted, found in pairs):
            return factor
    return None


def _first(known: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    return next((number for name in names if (number := _number(known.get(name)))), None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) and 0 < number < 1e6 else None


def _pair(value: object) -> tuple[float, float] | None:
    if isinstance(value, str) and (found := _RATIO.fullmatch(value)):
        first, second = _number(found[1]), _number(found[2])
        return (first, second) if first and second else None
    number = _number(value) if not isinstance(value, str) or value.strip().isdigit() else None
    return (number, number) if number and number >= GRID else None
