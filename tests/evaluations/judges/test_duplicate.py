"""An input that came back unchanged, whatever an encoder did to it, and changes that count."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from runflow.evaluations.judges import Picture, Reference, Subject
from runflow.evaluations.judges.duplicate import NearDuplicate, compare, expects_change
from tests.support import picture_corpus

KINDS = ("photograph", "portrait", "night", "sky", "poster")


def edited(image: Image.Image, share: float) -> Image.Image:
    """With a disc of this share of the area painted over."""
    made = image.copy()
    side = int((share * image.width * image.height) ** 0.5)
    left, top = int(image.width * 0.4), int(image.height * 0.4)
    ImageDraw.Draw(made).ellipse((left, top, left + side, top + side), fill=(200, 60, 60))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_and_a_scaler_change_nothing(kind: str) -> None:
    image = picture_corpus.good(kind, 1, 768, 512)
    for same in (image, picture_corpus.jpeg(image, 60), image.resize((384, 256), Image.Resampling.LANCZOS)):
        found = compare(Picture(same), Picture(image))
        assert found is not None and found.is_same, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundredth_of_the_picture_is_a_change(kind: str) -> None:
    image = picture_corpus.good(kind, 1, 768, 512)
    for other in (
        edited(image, 0.01),
        ImageEnhance.Brightness(image).enhance(1.3),
        picture_corpus.good(kind, 8, 768, 512),
    ):
        found = compare(Picture(other), Picture(image))
        assert found is not None and not found.is_same, found


def test_another_shape_is_a_change() -> None:
    image = picture_corpus.good("photograph", 1)
    assert compare(Picture(image.crop((0, 0, 512, 300))), Picture(image)) is None


@pytest.mark.parametrize(
    ("task", "attributes", "expected"),
    [
        ("style-transfer", {}, True),
        ("Image To Image", {}, True),
        ("headshot", {}, True),
        ("upscaling", {}, False),
        ("photo restoration edit", {}, False),
        ("image", {}, False),
        ("image", {"expect_change": True}, True),
        ("inpainting", {"expect_change": False}, False),
    ],
)
def test_which_tasks_are_to_change_something(task: str, attributes: dict[str, Any], expected: bool) -> None:
    assert expects_change(Subject(Path("unused"), task_type=task, input_attributes=attributes)) is expected


def test_the_verdict_names_what_did_not_change_and_spares_styles(tmp_path: Path) -> None:
    image = picture_corpus.good("photograph", 2)
    path = tmp_path / "image.png"
    image.save(path)
    for kind, judged in ((None, True), ("input", True), ("style", False), ("mask", False)):
        verdict = NearDuplicate().judge(Subject(path, task_type="edit", references=(Reference(path, kind),)))
        assert (verdict is not None) == judged
        if verdict is not None:
            assert not verdict.passed and verdict.issues[0].subcategory == "unchanged"
