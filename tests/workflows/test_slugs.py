"""Which slugs a workflow may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import SlugError, is_slug
from runflow.web.scopes import ROUTE_SCOPES
from runflow.workflows.slugs import RESERVED, checked_slug, derived_slug


@pytest.mark.parametrize("slug", ["a", "0", "a-b_c", "a" * 100, "background-removal-v21", "input"])
def test_good_ones(slug: str) -> None:
    assert checked_slug(slug) == slug


@pytest.mark.parametrize("slug", ["", "A", "-a", "_a", "a b", "a" * 101, "ä", "a/b", "a\n", *sorted(RESERVED)])
def test_bad_ones(slug: str) -> None:
    with pytest.raises(SlugError):
        checked_slug(slug)


def test_ids_are_no_slugs() -> None:
    with pytest.raises(SlugError, match="UUID"):
        checked_slug("0197f3a0-0000-7000-8000-000000000001")


def test_every_fixed_word_of_the_routes_is_reserved() -> None:
    for _, path in ROUTE_SCOPES:
        words = path.removeprefix("/v1/comfyui-workflows").split("/") if "comfyui-workflows" in path else []
        assert {word for word in words if word and not word.startswith("{")} <= RESERVED


def test_the_name_makes_one() -> None:
    assert derived_slug("Background Removal v2.1") == "background-removal-v21"
    for name in ("猫", "Outputs", "x" * 101):
        with pytest.raises(SlugError, match="No slug was sent"):
            derived_slug(name)


@given(st.text(max_size=120))
def test_whatever_is_made_is_allowed(name: str) -> None:
    try:
        slug = derived_slug(name)
    except SlugError:
        return
    assert is_slug(slug)
    assert slug not in RESERVED
