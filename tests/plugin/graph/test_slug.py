import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import MAX_SLUG_LENGTH, SlugError, is_slug, slugify

SLUG = re.compile(r"^[a-z0-9][a-z0-9_-]{0,99}$")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Background Removal v2.1", "background-removal-v21"),  # the mission's own example
        ("  My   First\tFlow \n", "my-first-flow"),
        ("a - b", "a-b"),
        ("__private__", "private"),
        ("snake_case stays", "snake_case-stays"),
        ("Ünïcode Ñame 3", "ncode-ame-3"),
        ("one\u00a0two\ufefftwo\u3000three", "one-two-two-three"),
        ("-_-x-_-", "x"),
        ("100%", "100"),
    ],
)
def test_the_rule(name: str, slug: str) -> None:
    assert slugify(name) == slug


@pytest.mark.parametrize("name", ["", "   ", "---", "日本語", "_-_", "!!!"])
def test_a_name_without_letters_and_digits_is_refused(name: str) -> None:
    with pytest.raises(SlugError, match="letters or digits"):
        slugify(name)


def test_a_name_that_is_not_there_is_called_empty() -> None:
    for name in ("", " \t"):
        with pytest.raises(SlugError, match="The name is empty"):
            slugify(name)


def test_a_name_that_is_too_long_is_refused_with_its_length() -> None:
    assert slugify("a" * MAX_SLUG_LENGTH) == "a" * MAX_SLUG_LENGTH
    with pytest.raises(SlugError, match="101 characters"):
        slugify("a" * (MAX_SLUG_LENGTH + 1))


@given(st.text(max_size=130))
def test_every_slug_is_valid_and_its_own_slug(name: str) -> None:
    try:
        slug = slugify(name)
    except SlugError:
        return
    assert SLUG.match(slug)
    assert is_slug(slug)
    assert slugify(slug) == slug


@given(st.text(max_size=110))
def test_is_slug_agrees_with_the_published_pattern(text: str) -> None:
    assert is_slug(text) == (SLUG.match(text) is not None and not text.endswith("\n"))
