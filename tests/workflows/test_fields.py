"""No workflow can take a word of the API's addresses."""

from runflow.server import ROUTES
from runflow.workflows.fields import WORKFLOW


def test_every_fixed_word_of_the_routes_is_reserved() -> None:
    for _, path in ROUTES.access:
        words = path.removeprefix("/v1/comfyui-workflows").split("/") if "comfyui-workflows" in path else []
        assert {word for word in words if word and not word.startswith("{")} <= WORKFLOW.reserved
