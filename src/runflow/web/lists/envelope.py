"""The body of a list answer, as data and as an OpenAPI model."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from runflow.web.lists.page import Page

Item = TypeVar("Item")


class ListEnvelope(BaseModel, Generic[Item]):
    """One page of a list. Cursors are values for `pq`, or null."""

    items: list[Item]
    first: str | None = Field(default=None, description="The first page; null on the first page itself.")
    next: str | None = Field(default=None, description="The page after this one; null at the end.")
    previous: str | None = Field(
        default=None, description="The page before this one, with or without `from_prev=true`; null at the start."
    )
    next_pq: str | None = Field(default=None, description="The same as `next`.")
    prev_pq: str | None = Field(default=None, description="The same as `previous`.")


def envelope(page: Page[Any], items: Sequence[Any]) -> dict[str, Any]:
    """Return the body for a page whose rows were serialized to `items`.

    Answer it as it is: passed through a response model, `fields` would be undone by defaults.
    """
    return {
        "items": list(items),
        "first": page.first,
        "next": page.next,
        "previous": page.previous,
        "next_pq": page.next,
        "prev_pq": page.previous,
    }
