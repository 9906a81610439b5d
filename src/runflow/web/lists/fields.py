"""What a list can be filtered and sorted by: its fields and their types."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine


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
