"""Pages of large rows: read one after the other, so that a page ends where it would become too large to hold."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.web.lists.page import Page, build, page
from runflow.web.lists.query import ListQuery
from runflow.web.lists.spec import ListSpec

MAX_PAGE_BYTES = 32 * 1024 * 1024
"""A page ends behind the row with which its documents pass this. One row is always shown, whatever its size."""
ROWS_AT_ONCE = 4
"""How many rows the database sends before their size is looked at."""


async def read_bounded(
    connection: AsyncConnection,
    spec: ListSpec,
    query: ListQuery,
    base: sa.Select[Any],
    size: Callable[[sa.Row[Any]], int],
    at_once: int = ROWS_AT_ONCE,
) -> Page[sa.Row[Any]]:
    """Return a page of `base` that ends early where its rows, by `size`, are too many bytes: `next` goes on behind it.

    Raises what `build` raises.
    """
    rows: list[sa.Row[Any]] = []
    held = 0
    options = {"max_row_buffer": at_once}
    async with connection.stream(build(spec, query, base), execution_options=options) as found:
        async for row in found:
            rows.append(row)
            held += size(row)
            if held > MAX_PAGE_BYTES:
                return page(spec, query, rows, goes_on=True)
    return page(spec, query, rows)
