"""Is the picture still the one that it was made from?

Only asked for tasks that are to change something. Both are looked at small, where no encoder and no scaling leaves a
trace, and the part that changed most decides: a small change is a change. Structure is compared by SSIM (Wang et al.,
"Image quality assessment: from error visibility to structural similarity", IEEE Transactions on Image Processing 13,
2004), colour by the mean levels of blocks.
"""

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from runflow.evaluations.judges.filters import block_means, gaussian
from runflow.evaluations.judges.picture import Levels, Picture
from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict, score_around

SIDE = 128
"""Both pictures are compared at so many pixels squared."""
BLOCK = 8
CHANGED = 0.01
"""The hundredth that changed most decides."""
SSIM_SIGMA = 1.5
SSIM_LIMIT, COLOUR_LIMIT = 0.93, 5.0
"""Above this structural similarity and below this difference in levels nothing has changed: docs/evaluations.md."""
ASPECT_TOLERANCE = 0.05
EXPECT = "expect_change"
"""An input attribute, true or false, that says whether change is expected."""

_CHANGES = re.compile(
    r"edit|inpaint|outpaint|style|restyl|transfer|headshot|ad_creative|try_on|tryon|swap|replac|remov|recolo|coloriz"
    r"|variation|image_to_image|img2img|relight|makeover|product_photo|virtual|cartoon|anime|background"
)
_KEEPS = re.compile(r"upscal|super_resolution|restor|denois|enhanc|compress|convert|sharpen|text_to")
_NOT_INPUT = re.compile(r"target|expected|ground|style|reference_style|mask|pose|depth|control")


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two pictures are where they differ most: `ssim` 0..1, `colour` in levels."""

    ssim: float
    colour: float

    @property
    def is_same(self) -> bool:
        """Whether nothing has changed that a person would see."""
        return self.ssim >= SSIM_LIMIT and self.colour <= COLOUR_LIMIT


def expects_change(subject: Subject) -> bool:
    """Tell whether the task is to change something: the attribute `expect_change`, else what the task type says."""
    said = subject.input_attributes.get(EXPECT)
    if isinstance(said, bool):
        return said
    task = re.sub(r"[\s-]+", "_", subject.task_type.lower())
    return bool(_CHANGES.search(task)) and not _KEEPS.search(task)


class NearDuplicate:
    """Pictures that are their own input."""

    name = "near_duplicate"
    category = "change"
    description = "The image differs from the images that it was made from, where the task is to change them."
    weight = 2.0

    def judge(self, subject: Subject) -> Verdict | None:
        """Judge where change is expected and there is an input to compare with."""
        picture = subject.picture
        if picture is None or not expects_change(subject):
            return None
        found: list[Likeness] = []
        for reference in subject.references:
            if reference.picture is None or _NOT_INPUT.search((reference.kind or "").lower()):
                continue
            likeness = compare(picture, reference.picture)
            found.append(likeness or Likeness(0.0, 255.0))
        if not found:
            return None
        nearest = max(found, key=lambda likeness: (likeness.is_same, likeness.ssim))
        structure = score_around(nearest.ssim, 0.5, SSIM_LIMIT, 1.0)
        colour = score_around(nearest.colour, 20.0, COLOUR_LIMIT, 0.0)
        score = max(structure, colour)
        if not nearest.is_same:
            return Verdict(True, max(0.5, score), "The image differs from the images that it was made from.")
        detail = (
            "The image is the input again: even where they differ most, the structure is "
            f"{nearest.ssim:.0%} the same and the colour is off by {nearest.colour:.1f} of 255 levels."
        )
        return Verdict(False, min(score, 0.49), detail, (Issue("change", "unchanged", detail, Severity.HIGH),))


def compare(one: Picture, other: Picture) -> Likeness | None:
    """Return how alike two pictures are; None where their shapes differ, which is a change by itself."""
    if abs(np.log(one.width / one.height * other.height / other.width)) > ASPECT_TOLERANCE:
        return None
    first, second = _small(one), _small(other)
    colour = max(
        float(np.abs(block_means(first[..., channel], BLOCK) - block_means(second[..., channel], BLOCK)).max())
        for channel in range(3)
    )
    ssim = _ssim(first.mean(axis=2, dtype=np.float32), second.mean(axis=2, dtype=np.float32))
    return Likeness(float(np.quantile(ssim, CHANGED)), colour)


def _small(picture: Picture) -> Levels:
    return np.asarray(picture.image.resize((SIDE, SIDE), Image.Resampling.HAMMING), np.float32)


def _ssim(one: Levels, other: Levels) -> Levels:
    """Return the map of structural similarity, with the constants of the paper."""
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_one, mean_other = gaussian(one, SSIM_SIGMA), gaussian(other, SSIM_SIGMA)
    spread_one = gaussian(one * one, SSIM_SIGMA) - mean_one**2
    spread_other = gaussian(other * other, SSIM_SIGMA) - mean_other**2
    shared = gaussian(one * other, SSIM_SIGMA) - mean_one * mean_other
    alike = (2 * mean_one * mean_other + first) * (2 * shared + second)
    return np.asarray(alike / ((mean_one**2 + mean_other**2 + first) * (spread_one + spread_other + second)))
