"""No organization can take a word of the API's addresses."""

import pytest

from runflow.graph.slug import SlugError
from runflow.orgs.slugs import RESERVED, checked_slug, derived_slug
from runflow.web.scopes import ROUTE_SCOPES


def test_every_fixed_word_in_the_place_of_an_owner_is_reserved() -> None:
    """Such as `/v1/comfyui-workflows/categories/{code}`, beside `/v1/comfyui-workflows/{owner}/{slug}`."""
    owned = {tuple(path.split("/")) for _, path in ROUTE_SCOPES if "{owner}" in path}
    fixed = set()
    for _, path in ROUTE_SCOPES:
        parts = tuple(path.split("/"))
        for template in owned:
            at = template.index("{owner}")
            same = len(parts) == len(template) and parts[:at] == template[:at]
            if same and not parts[at].startswith("{"):
                fixed.add(parts[at])
    assert "categories" in fixed
    assert fixed <= RESERVED


@pytest.mark.parametrize("slug", ["", "-a", "a b", "A", "x" * 101, "any", "0197f3a0-0000-7000-8000-000000000000"])
def test_unusable_slugs(slug: str) -> None:
    with pytest.raises(SlugError):
        checked_slug(slug)


def test_a_slug_from_a_name() -> None:
    assert derived_slug("Acme & Sons") == "acme-sons"
