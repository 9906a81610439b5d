"""Lists of the API, page after page (docs/api.md, "Lists")."""

from collections.abc import Callable
from typing import Any, TypeVar

from runflow.client.effects import Emit, Iteration
from runflow.client.exchange import Session, json_of

T = TypeVar("T")

PAGE_SIZE = 100


def each(
    session: Session,
    path: str,
    kind: Callable[[Any], T],
    *,
    limit: int | None = None,
    page_size: int = PAGE_SIZE,
    **query: Any,
) -> Iteration[T]:
    """Emit every item of a list, as `kind` makes it of the record; `limit`: at most so many, from all pages."""
    left = limit
    cursor = query.pop("pq", None)
    while left is None or left > 0:
        size = page_size if left is None else min(page_size, left)
        found = yield from json_of(session, "GET", path, params={**query, "limit": size, "pq": cursor})
        for item in found["items"]:
            yield Emit(kind(item))
        # A page of large items may be short: only the cursor tells that there are no more.
        cursor = found["next"]
        if cursor is None:
            return
        left = None if left is None else left - len(found["items"])
