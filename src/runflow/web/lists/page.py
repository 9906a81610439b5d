"""Keyset pages: from a list request to one SELECT, and from its rows to a page with cursors.

A page costs one statement and reads `limit` + 1 rows from its place in the order, at any depth where an index serves
the order. Rows that come or go between two pages move no other row: a page starts at a place, not at a number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from runflow.web.lists.cursor import Cursor, decode_cursor, encode_cursor
from runflow.web.lists.filter import condition
from runflow.web.lists.keyset import after
from runflow.web.lists.parse import parse_filter
from runflow.web.lists.projection import check_projection
from runflow.web.lists.query import ListQuery
from runflow.web.lists.sort import SortKey, parse_sort
from runflow.web.lists.spec import ListSpec

_KEY = "list_key_{}"

Row = TypeVar("Row", bound=sa.Row[Any] | Mapping[Any, Any])


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows in the list's normal order, and the cursors around them, each a value for `pq` or None.

    - `first`: back to the first page; None on the first page itself.
    - `next`: the rows after these; None when there are none.
    - `previous`: the rows before these; None when there are none. It walks backwards with or without `from_prev`.
    """

    rows: list[Row]
    first: str | None
    next: str | None
    previous: str | None


def build(spec: ListSpec, query: ListQuery, base: sa.Select[Any] | None = None) -> sa.Select[Any]:
    """Return `base` with the request's filter, place, order and limit.

    `base` (by default all columns of `spec.from_`) holds the joins and the conditions that bound what the caller may
    see; it may not have an order, a limit, DISTINCT or GROUP BY of its own. The values of the sort keys are added as
    last columns `list_key_0`, `list_key_1`, …, from which `page` makes the cursors.

    Raises InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    check_projection(query, spec.response_fields, spec.embeds)
    keys, cursor = _place(spec, query)
    statement = sa.select(spec.from_) if base is None else base
    tree = parse_filter(query.q) if query.q else None
    if tree is not None:
        statement = statement.where(condition(spec.by_name, tree))
    walk = tuple(key.reversed for key in keys) if cursor.backwards else keys
    if cursor.values is not None:
        statement = statement.where(after(walk, cursor.values))
    return (
        statement.add_columns(*(key.field.column.label(_KEY.format(at)) for at, key in enumerate(keys)))
        .order_by(*(key.order for key in walk))
        .limit(query.limit + 1)
    )


def page(spec: ListSpec, query: ListQuery, rows: Sequence[Row], *, goes_on: bool = False) -> Page[Row]:
    """Return the page that the rows of `build`'s statement for the same request make.

    `goes_on`: not all of them were read, so that there may be more.
    """
    keys, cursor = _place(spec, query)
    kept = list(rows[: query.limit])
    more = goes_on or len(rows) > query.limit
    if cursor.backwards:
        kept.reverse()
    # Where no row is left on the side walked to, everything lies on the other side: back from the edge loses nothing.
    start = Cursor(_values(keys, kept[0]) if kept else None, backwards=True)
    end = Cursor(_values(keys, kept[-1]) if kept else None)
    came_from_a_row = cursor.values is not None
    if cursor.backwards:
        before, behind = more, came_from_a_row
    else:
        before, behind = came_from_a_row, more
    return Page(
        rows=kept,
        first=encode_cursor(Cursor(None), keys, query.q) if before else None,
        next=encode_cursor(end, keys, query.q) if behind else None,
        previous=encode_cursor(start, keys, query.q) if before else None,
    )


def _place(spec: ListSpec, query: ListQuery) -> tuple[tuple[SortKey, ...], Cursor]:
    keys = parse_sort(query.sort_by or spec.default_sort, spec.by_name, spec.id_field)
    if query.pq is None:
        return keys, Cursor(None, query.from_prev)
    cursor = decode_cursor(query.pq, keys, query.q)
    return keys, Cursor(cursor.values, cursor.backwards or query.from_prev)


def _values(keys: tuple[SortKey, ...], row: sa.Row[Any] | Mapping[Any, Any]) -> tuple[Any, ...]:
    columns = row if isinstance(row, Mapping) else row._mapping
    return tuple(columns[_KEY.format(at)] for at in range(len(keys)))
