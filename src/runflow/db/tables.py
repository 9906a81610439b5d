"""What every table definition shares. The columns themselves stand in each noun's `tables.py`.

The migrations are the truth; `tests/db/test_migrate.py` compares them with these definitions.
"""

from typing import Any

from sqlalchemy import JSON, Column, DateTime, MetaData, Uuid

metadata = MetaData()


def uuid_column(name: str, **options: Any) -> Column[Any]:
    """A `uuid` column."""
    return Column(name, Uuid, **options)


def time_column(name: str, **options: Any) -> Column[Any]:
    """A `timestamptz` column."""
    return Column(name, DateTime(timezone=True), **options)


def json_column(name: str, **options: Any) -> Column[Any]:
    """A `json` column: kept as it was sent. Python's None is SQL's NULL."""
    return Column(name, JSON(none_as_null=True), **options)
