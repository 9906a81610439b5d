"""What one list offers: its fields, their kinds, its relations; declared once per noun, beside its queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from runflow.errors import InvalidSort


class FieldKind(StrEnum):
    """The type of a field's values; its text is what error messages call it."""

    UUID = "uuid"
    INT = "int"
    DECIMAL = "decimal"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    ENUM = "enum"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class ListField:
    """One field of a list, by the name that callers use.

    - `column`: the SQL expression behind it. Integers of any width are INT; numeric and double precision are DECIMAL;
      timestamps are `timestamptz`; STRING and ENUM are text columns, never a PostgreSQL enum type. Text compares and
      sorts by the collation of its column.
    - `sortable`: a cursor carries the values of the sort keys, so leave it off for text of unbounded length.
    - `nullable`: must be true when the expression can be NULL, outer joins included; a sort by a field that is
      wrongly declared loses rows.
    - `choices`: the values of an ENUM, in the order in which error messages list them.
    """

    name: str
    column: sa.ColumnElement[Any]
    kind: FieldKind
    filterable: bool = True
    sortable: bool = True
    nullable: bool = False
    choices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse an enum without choices and choices without an enum: both are mistakes of the declaration."""
        if (self.kind is FieldKind.ENUM) != bool(self.choices):
            raise ValueError(f"List field {self.name!r}: an ENUM needs choices, and no other kind has them.")

    def bind(self, value: object) -> sa.BindParameter[Any]:
        """Return one typed bind parameter to compare the column with."""
        return sa.bindparam(None, value, type_=self._type(), unique=True)

    def bind_list(self, values: list[Any]) -> sa.ColumnElement[Any]:
        """Return all values as one array parameter: the statement's text does not grow with the list."""
        return sa.bindparam(None, values, type_=sa.ARRAY(self._type()), unique=True)

    def _type(self) -> TypeEngine[Any]:
        # Numbers are bound in the widest type: the narrow column type would make PostgreSQL fail on a large value or
        # round a precise one, where a comparison has a plain answer.
        match self.kind:
            case FieldKind.INT:
                return sa.BigInteger()
            case FieldKind.DECIMAL:
                return sa.Numeric()
            case FieldKind.TIMESTAMP:
                return sa.DateTime(timezone=True)
            case FieldKind.UUID:
                return sa.Uuid()
            case FieldKind.BOOL:
                return sa.Boolean()
            case FieldKind.STRING | FieldKind.ENUM:
                return sa.Text()


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


_TYPES: dict[type, TypeEngine[Any]] = {str: sa.Text(), int: sa.BigInteger(), bool: sa.Boolean()}


def fixed_table(name: str, columns: Mapping[str, type], rows: Sequence[Mapping[str, Any]]) -> sa.FromClause:
    """Return `VALUES` with these columns (text, integer or boolean); such a list sorts and filters like any other."""
    made = sa.values(*(sa.column(column, _TYPES[kind]) for column, kind in columns.items()), name=name)
    return made.data([tuple(row[column] for column in columns) for row in rows])


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
