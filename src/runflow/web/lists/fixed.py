"""Reference data that stands in the code, as a table that a list can be made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

_TYPES: dict[type, TypeEngine[Any]] = {str: sa.Text(), int: sa.BigInteger(), bool: sa.Boolean()}


def fixed_table(name: str, columns: Mapping[str, type], rows: Sequence[Mapping[str, Any]]) -> sa.FromClause:
    """Return `VALUES` with these columns (text, integer or boolean); such a list sorts and filters like any other."""
    made = sa.values(*(sa.column(column, _TYPES[kind]) for column, kind in columns.items()), name=name)
    return made.data([tuple(row[column] for column in columns) for row in rows])
