"""`sort_by` → sort keys, and the ORDER BY that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from runflow.errors import InvalidSort
from runflow.web.lists.fields import ListField


@dataclass(frozen=True, slots=True)
class SortKey:
    """One field to sort by. Missing values count as the largest: last when ascending, first when descending.

    That is PostgreSQL's own default in both directions, so a plain index serves the order.
    """

    field: ListField
    descending: bool

    @property
    def reversed(self) -> "SortKey":
        """The same key in the other direction."""
        return SortKey(self.field, not self.descending)

    @property
    def order(self) -> sa.UnaryExpression[Any]:
        """The ORDER BY element."""
        return self.field.column.desc() if self.descending else self.field.column.asc()


def parse_sort(text: str, fields: Mapping[str, ListField], id_field: str) -> tuple[SortKey, ...]:
    """Read `field:asc,field:desc`; a field without a direction is ascending. Raise InvalidSort.

    The id is always the last key, in the direction of the key before it, so that no two rows are equal and, where all
    directions agree, one index range holds everything after a row.
    """
    keys: list[SortKey] = []
    for part in text.split(","):
        name, _, direction = (piece.strip() for piece in part.partition(":"))
        field = fields.get(name)
        if field is None or not field.sortable:
            allowed = ", ".join(sorted(known.name for known in fields.values() if known.sortable))
            raise sort_error(f'Cannot sort by "{_short(name)}"; expected one of {allowed}.')
        if direction.lower() not in ("", "asc", "desc"):
            raise sort_error(f'Cannot sort {name} by "{_short(direction)}"; expected {name}:asc or {name}:desc.')
        if any(key.field is field for key in keys):
            raise sort_error(f'"{name}" stands twice in sort_by; name each field once.')
        keys.append(SortKey(field, direction.lower() == "desc"))
    names = [key.field.name for key in keys]
    if id_field in names:
        return tuple(keys[: names.index(id_field) + 1])
    return (*keys, SortKey(fields[id_field], keys[-1].descending))


def signature(keys: tuple[SortKey, ...]) -> str:
    """Return the one spelling of a sort order, for cursors: `created_at:desc,id:desc`."""
    return ",".join(f"{key.field.name}:{'desc' if key.descending else 'asc'}" for key in keys)


def sort_error(message: str) -> InvalidSort:
    """Return the error for a bad `sort_by`."""
    return InvalidSort(message, errors=[{"loc": ["query", "sort_by"], "msg": message, "type": "invalid_sort"}])


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"
