"""The SQL condition "strictly after this row in this order", for any mix of directions and missing values."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from runflow.web.lists.filter import Condition
from runflow.web.lists.sort import SortKey


def after(keys: Sequence[SortKey], values: Sequence[Any]) -> Condition:
    """Return the condition for the rows that come after the row with these sort key values.

    Where all keys run in one direction it is a row comparison, `(a, b) < (x, y)`: PostgreSQL starts at that very place
    of an index, so a page costs the same at any depth. Descending, that holds for nullable keys too: the missing values
    come first, hence none is left after a row that has a value, and a comparison with NULL keeps none.
    """
    if len({key.descending for key in keys}) == 1 and None not in values:
        here = sa.tuple_(*(key.field.column for key in keys))
        there = sa.tuple_(*(key.field.bind(value) for key, value in zip(keys, values, strict=True)))
        if keys[0].descending:
            return here < there
        if not any(key.field.nullable for key in keys):
            return here > there
    *leading, (last_key, last_value) = zip(keys, values, strict=True)
    result = _beyond(last_key, last_value)
    for key, value in reversed(leading):
        result = sa.or_(_beyond(key, value), sa.and_(_same(key, value), result))
    # Implied by the rest, but a range on the first key is what an index can start from.
    bound = _reached(keys[0], values[0])
    return result if bound is None else sa.and_(bound, result)


def _beyond(key: SortKey, value: Any) -> Condition:
    column = key.field.column
    if value is None:
        # Missing values are the largest: descending everything else follows them, ascending nothing does.
        return column.is_not(None) if key.descending else sa.false()
    if key.descending:
        return column < key.field.bind(value)
    larger = column > key.field.bind(value)
    return sa.or_(larger, column.is_(None)) if key.field.nullable else larger


def _same(key: SortKey, value: Any) -> Condition:
    return key.field.column.is_(None) if value is None else key.field.column == key.field.bind(value)


def _reached(key: SortKey, value: Any) -> Condition | None:
    if value is None:
        return None
    if key.descending:
        return key.field.column <= key.field.bind(value)
    return None if key.field.nullable else key.field.column >= key.field.bind(value)
