"""How often judges are right on a generated corpus: no false alarm, and every fault that a person would see."""

from pathlib import Path

import pytest
from PIL import Image

from runflow.evaluations.judges import Picture, Subject, Verdict
from runflow.evaluations.judges.registry import built_in
from tests.support import picture_corpus

JUDGES = {judge.name: judge for judge in built_in()}


def subject(image: Image.Image) -> Subject:
    """A subject whose picture is decoded already."""
    made = Subject(Path("unused"))
    made.__dict__["_opened"] = Picture(image)
    return made


def verdict(name: str, image: Image.Image) -> Verdict | None:
    return JUDGES[name].judge(subject(image))


@pytest.mark.parametrize("kind", picture_corpus.GOOD)
def test_no_judge_complains_about_a_good_picture(kind: str) -> None:
    complaints = []
    for width, height in picture_corpus.SIZES:
        for seed in range(2):
            image = picture_corpus.good(kind, seed, width, height)
            for shown in (image, picture_corpus.jpeg(image, 80)):
                for name in JUDGES:
                    found = verdict(name, shown)
                    if found is not None and not found.passed:
                        complaints.append(f"{width} × {height}, seed {seed}: {found.reasoning}")
                    assert found is None or 0 <= found.score <= 1
    assert complaints == []


@pytest.mark.parametrize("side", [512, 1024])
@pytest.mark.parametrize("kind", picture_corpus.PHOTOGRAPHIC)
def test_blur_noise_and_darkness_are_found_in_photographs(kind: str, side: int) -> None:
    for seed in range(2):
        image = picture_corpus.good(kind, seed, side, side)
        for spoiled, judge, word in (
            (picture_corpus.blurred(image, 3), "blur", "blurred"),
            (picture_corpus.blurred(image, 6), "blur", "blurred"),
            (picture_corpus.noisy(image, 18, seed), "noise", "noisy"),
            (picture_corpus.exposed(image, -5.5), "exposure", "underexposed"),
        ):
            found = verdict(judge, spoiled)
            assert found is not None and not found.passed and found.score < 0.5, (judge, seed, found)
            assert found.issues[0].subcategory == word
            assert found.issues[0].detail.endswith(".")


def test_burnt_out_light_is_found_in_most_photographs() -> None:
    found = [
        verdict("exposure", picture_corpus.exposed(picture_corpus.good(kind, seed, 512, 512), 3.3))
        for kind in picture_corpus.PHOTOGRAPHIC
        for seed in range(4)
    ]
    assert sum(one is not None and not one.passed for one in found) >= 0.8 * len(found)


def test_more_of_a_fault_never_scores_better() -> None:
    image = picture_corpus.good("photograph", 3)
    for judge, spoiled in (
        ("blur", [picture_corpus.blurred(image, sigma) for sigma in (0.5, 1, 2, 3)]),
        ("noise", [picture_corpus.noisy(picture_corpus.good("sky", 3), sigma) for sigma in (2, 6, 12, 24)]),
        ("exposure", [picture_corpus.exposed(image, stops) for stops in (0, -2, -4, -6)]),
    ):
        scores = [found.score for picture in spoiled if (found := verdict(judge, picture)) is not None]
        assert len(scores) == 4 and scores == sorted(scores, reverse=True), judge
