"""Addresses that do not exist but are easily meant. Pure.

A base URL was put together wrongly, or a workflow is named the other way: some of its parts go by its id, others by its
path.
"""

import re
from collections.abc import Iterator

_WORKFLOWS = "/v1/comfyui-workflows"
_TELLS_ID = f"`GET {_WORKFLOWS}/{{owner}}/{{slug}}` tells the id."
_BY_PATH = re.compile(rf"{_WORKFLOWS}/[^/]+/(runs|batches)")
_BY_ID = re.compile(
    rf"{_WORKFLOWS}/[^/]+/[^/]+/(inputs|outputs|versions|rollbacks|restorations|evaluation-stats|run-performance-stats)"
    "(/.*)?"
)
_RECORD = re.compile(rf"{_WORKFLOWS}/[^/]+/[^/]+")


def neighbours(path: str) -> Iterator[str]:
    """Yield addresses that differ from this one as a base URL that was put together wrongly differs from the right one.

    A slash at the end, two in a row, no `/v1`, two of them, or one below `/api`.
    """
    plain = "/" + "/".join(part for part in path.split("/") if part)
    yield plain
    yield f"/v1{plain}"
    for wrong in ("/v1", "/api"):
        if plain.startswith(f"{wrong}/v1/"):
            yield plain.removeprefix(wrong)


def meant(method: str, path: str) -> str | None:
    """Return what to ask for instead, where a workflow is addressed by the other of its two names; else None."""
    if found := _BY_PATH.fullmatch(path):
        return f"A workflow's {found[1]} go by its `path`: `{_WORKFLOWS}/{{owner}}/{{slug}}/{found[1]}`."
    if found := _BY_ID.fullmatch(path):
        return f"A workflow's {found[1]} go by its id: `{_WORKFLOWS}/{{id}}/{found[1]}`. {_TELLS_ID}"
    if method in ("PATCH", "DELETE") and _RECORD.fullmatch(path):
        return f"A workflow is changed and deleted by its id: `{_WORKFLOWS}/{{id}}`. {_TELLS_ID}"
    return None
