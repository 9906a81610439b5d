"""Which slugs a thing may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import SlugError, is_slug
from runflow.slugs import SlugRule

RULE = SlugRule(frozenset({"outputs", "any"}))


@pytest.mark.parametrize("slug", ["a", "0", "a-b_c", "a" * 100, "background-removal-v21", "input"])
def test_good_ones(slug: str) -> None:
    assert RULE.checked(slug) == slug


@pytest.mark.parametrize("slug", ["", "A", "-a", "_a", "a b", "a" * 101, "ä", "a/b", "a\n", *sorted(RULE.reserved)])
def test_bad_ones(slug: str) -> None:
    with pytest.raises(SlugError):
        RULE.checked(slug)


def test_ids_are_no_slugs() -> None:
    with pytest.raises(SlugError, match="UUID"):
        RULE.checked("0197f3a0-0000-7000-8000-000000000001")


def test_the_name_makes_one() -> None:
    assert RULE.derived("Background Removal v2.1") == "background-removal-v21"
    for name in ("猫", "Outputs", "x" * 101):
        with pytest.raises(SlugError, match="Send a slug"):
            RULE.derived(name)


@given(st.text(max_size=120))
def test_whatever_is_made_is_allowed(name: str) -> None:
    try:
        slug = RULE.derived(name)
    except SlugError:
        return
    assert is_slug(slug)
    assert slug not in RULE.reserved
