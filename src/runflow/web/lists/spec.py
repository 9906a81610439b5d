"""What one list offers: declared once per noun, beside its queries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import sqlalchemy as sa

from runflow.web.lists.fields import ListField
from runflow.web.lists.sort import parse_sort


@dataclass(frozen=True, slots=True)
class ListSpec:
    """The fields, the default order, the embeds and the response fields of one list.

    - `from_`: the table, or join of tables, that the fields' columns come from; `build` selects from it by default.
    - `fields`: what `q` and `sort_by` may name.
    - `response_fields`: what `fields` may name (the keys of a serialized row, without the embeds).
    - `embeds`: what `embed` may name.
    - `id_field`: the unique, never null field that ends every sort order.
    """

    from_: sa.FromClause
    fields: tuple[ListField, ...]
    response_fields: frozenset[str]
    embeds: frozenset[str] = frozenset()
    id_field: str = "id"
    default_sort: str = "created_at:desc"
    by_name: Mapping[str, ListField] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the declaration itself, so that a mistake shows at import and not in a page.

        Raises ValueError for doubled names and for a missing or nullable id, InvalidSort for a bad default order.
        """
        by_name = {known.name: known for known in self.fields}
        if len(by_name) != len(self.fields):
            raise ValueError("A list declares one field name twice.")
        if self.id_field not in by_name or by_name[self.id_field].nullable:
            raise ValueError(f"A list needs its id field {self.id_field!r} among its fields, and not nullable.")
        object.__setattr__(self, "by_name", MappingProxyType(by_name))
        parse_sort(self.default_sort, by_name, self.id_field)
