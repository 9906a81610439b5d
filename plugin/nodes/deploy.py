"""The Runflow Deploy node: where a person names the endpoint and finds the plugin's buttons.

It lives in the editor alone: the page leaves it out of every prompt (web/deploy_node.js), and it has no output, so that
ComfyUI would not run it even where that page script is missing. Its fields `host` and `api_key` are the page's own:
what a class declares can be promoted out of a subgraph, and is saved with the workflow then.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RunflowDeploy:
    """Runflow Deploy."""

    CATEGORY: ClassVar[str] = "Runflow"
    DESCRIPTION: ClassVar[str] = "Publishes this workflow as an HTTP endpoint."
    FUNCTION: ClassVar[str] = "nothing"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """The widgets, in ComfyUI's form."""
        name = "Name of the endpoint; its address is made from it. Keep it to publish a new version at one address."
        return {
            "required": {},
            "optional": {
                "endpoint_name": ("STRING", {"default": "", "tooltip": name, "socketless": True}),
            },
        }

    def nothing(self, **_widgets: Any) -> tuple[()]:
        """Do nothing: the node is never part of a run."""
        return ()
