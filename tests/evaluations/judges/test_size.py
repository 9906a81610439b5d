"""What a request asks for, and what counts as meeting it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runflow.evaluations.judges import Picture, Subject
from runflow.evaluations.judges.size import RequestedSize, requested


def subcategory(attributes: dict[str, Any], width: int, height: int) -> str | None:
    made = Subject(Path("unused"), input_attributes=attributes)
    made.__dict__["_opened"] = Picture(Image.new("RGB", (width, height)))
    found = RequestedSize().judge(made)
    assert found is not None
    return found.issues[0].subcategory if found.issues else None


@pytest.mark.parametrize(
    ("attributes", "size", "expected"),
    [
        ({"width": 1024, "height": 768}, (1024, 768), None),
        ({"width": 1000, "height": 750}, (992, 736), None),  # the multiples of 32 and 16 below
        ({"Width": "1024", "HEIGHT": 768.0}, (1024, 768), None),
        ({"width": 512, "height": 512}, (2048, 2048), None),  # an upscaler behind the sampler
        ({"width": 512, "height": 512}, (768, 768), "wrong_size"),
        ({"width": 1024, "height": 768}, (768, 1024), "wrong_aspect"),
        ({"width": 1024}, (1024, 333), None),
        ({"width": 1024}, (700, 700), "wrong_size"),
        ({"size": "1024x768"}, (1024, 768), None),
        ({"size": 512}, (512, 512), None),
        ({"size": 512}, (512, 700), "wrong_aspect"),
        ({"aspect_ratio": "16:9"}, (1344, 768), None),  # 1.75, the nearest on the grid
        ({"aspect_ratio": "16:9"}, (1024, 1024), "wrong_aspect"),
        ({"aspect_ratio": 1.5}, (768, 512), None),
    ],
)
def test_sizes(attributes: dict[str, Any], size: tuple[int, int], expected: str | None) -> None:
    assert subcategory(attributes, *size) == expected


@pytest.mark.parametrize("attributes", [{}, {"width": "wide"}, {"width": True}, {"steps": 20}, {"size": "large"}])
def test_without_a_size_there_is_nothing_to_judge(attributes: dict[str, Any]) -> None:
    assert requested(attributes) is None


@given(
    st.dictionaries(
        st.sampled_from(["width", "height", "size", "aspect_ratio"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=20),
            st.lists(st.integers(), max_size=2),
        ),
    )
)
def test_no_attribute_makes_it_fail(attributes: dict[str, Any]) -> None:
    request = requested(attributes)
    if request is not None:
        subcategory(attributes, 640, 480)
