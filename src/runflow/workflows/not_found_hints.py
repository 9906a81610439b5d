"""Addresses of workflows that do not exist but are easily meant. Pure.

Some parts of a workflow go by its id, others by its path.
"""

import re

_WORKFLOWS = "/v1/comfyui-workflows"
_TELLS_ID = f"`GET {_WORKFLOWS}/{{owner}}/{{slug}}` tells the id."
_BY_PATH = re.compile(rf"{_WORKFLOWS}/[^/]+/(runs|batches)")
_BY_ID = re.compile(
    rf"{_WORKFLOWS}/[^/]+/[^/]+/(inputs|outputs|versions|rollbacks|restorations|evaluation-stats|run-performance-stats)"
    "(/.*)?"
)
_RECORD = re.compile(rf"{_WORKFLOWS}/[^/]+/[^/]+")


def meant(method: str, path: str) -> str | None:
    """Return what to ask for instead, where a workflow is addressed by the other of its two names; else None."""
    if found := _BY_PATH.fullmatch(path):
        return f"A workflow's {found[1]} go by its `path`: `{_WORKFLOWS}/{{owner}}/{{slug}}/{found[1]}`."
    if found := _BY_ID.fullmatch(path):
        return f"A workflow's {found[1]} go by its id: `{_WORKFLOWS}/{{id}}/{found[1]}`. {_TELLS_ID}"
    if method in ("PATCH", "DELETE") and _RECORD.fullmatch(path):
        return f"A workflow is changed and deleted by its id: `{_WORKFLOWS}/{{id}}`. {_TELLS_ID}"
    return None
