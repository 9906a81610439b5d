"""No organization can take a word of the API's addresses."""

from runflow.accounts.organizations.schemas import OWNER
from runflow.server import ROUTES


def test_every_fixed_word_in_the_place_of_an_owner_is_reserved() -> None:
    """Such as `/v1/comfyui-workflows/categories/{code}`, beside `/v1/comfyui-workflows/{owner}/{slug}`."""
    owned = {tuple(path.split("/")) for _, path in ROUTES.access if "{owner}" in path}
    fixed = set()
    for _, path in ROUTES.access:
        parts = tuple(path.split("/"))
        for template in owned:
            at = template.index("{owner}")
            same = len(parts) == len(template) and parts[:at] == template[:at]
            if same and not parts[at].startswith("{"):
                fixed.add(parts[at])
    assert "categories" in fixed
    assert fixed <= OWNER.reserved
