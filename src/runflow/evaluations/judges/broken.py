"""The gate: is there a picture at all?"""

import numpy as np
from PIL import Image, ImageChops

from runflow.evaluations.judges.picture import Picture
from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict

SAME_LEVELS = 2
"""Levels up to this far from the commonest one count as the same: what a lossy encoder makes of one colour."""
UNIFORM_SHARE = 0.999
"""At most one visible pixel in a thousand differs: no content that a person could make out (docs/evaluations.md)."""


class BrokenOutput:
    """Files that are no image, and images that show nothing."""

    name = "broken_output"
    category = "broken_output"
    description = "The file can be decoded whole and shows something: it is neither empty, black nor of one colour."
    weight = 1.0
    is_gate = True

    def judge(self, subject: Subject) -> Verdict:
        """Judge every subject."""
        if subject.fault is not None:
            return _broken(subject.fault.subcategory, subject.fault.detail)
        picture = subject.picture
        assert picture is not None
        if picture.opaque is not None and not picture.opaque.any():
            return _broken("transparent", "Every pixel of the image is transparent.")
        colour, share = _commonest(picture)
        if share < UNIFORM_SHARE:
            shown = f"at least {1 - share:.1%} of the pixels differ from the commonest colour."
            return Verdict(True, 1.0, f"The image was decoded whole, and {shown}")
        if max(colour) <= SAME_LEVELS:
            return _broken(
                "black",
                f"{share:.2%} of the pixels are black. A model whose numbers overflowed (NaN) gives such an image: "
                "run it in a higher precision, e.g. with a VAE in fp32.",
            )
        return _broken("uniform", f"{share:.2%} of the pixels have one colour, rgb({', '.join(map(str, colour))}).")


def _commonest(picture: Picture) -> tuple[tuple[int, ...], float]:
    """Return the commonest level of each channel, and the share of visible pixels that are near all three.

    A share below `UNIFORM_SHARE` is an upper bound.
    """
    mask = None if picture.opaque is None else Image.fromarray(picture.opaque)
    counts = np.asarray(picture.image.histogram(mask)).reshape(3, 256)
    colour = counts.argmax(axis=1)
    low, high = np.maximum(colour - SAME_LEVELS, 0), np.minimum(colour + SAME_LEVELS, 255)
    total = int(counts[0].sum())
    # Each channel bounds the share; nearly every picture ends here, without a look at single pixels.
    most = min(int(counts[channel, low[channel] : high[channel] + 1].sum()) for channel in range(3))
    if most < UNIFORM_SHARE * total:
        return tuple(int(level) for level in colour), most / total
    # In Pillow, not in numpy: a hundredth of the time for the largest images, and a fraction of the memory.
    near = picture.image.point([255 * (low[c] <= level <= high[c]) for c in range(3) for level in range(256)])
    red, green, blue = near.split()
    same = ImageChops.darker(ImageChops.darker(red, green), blue).histogram(mask)[255]
    return tuple(int(level) for level in colour), same / total


def _broken(subcategory: str, detail: str) -> Verdict:
    return Verdict(False, 0.0, detail, (Issue("broken_output", subcategory, detail, Severity.HIGH),))
