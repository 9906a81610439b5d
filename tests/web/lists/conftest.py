"""A real PostgreSQL table with the sample rows, shared by the tests of the list engine and never changed by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from runflow.web.lists import ListSpec
from tests.web.lists.rows import own_schema, sample_rows, sample_spec, sample_table


@dataclass(frozen=True, slots=True)
class Samples:
    engine: sa.Engine
    table: sa.Table
    spec: ListSpec
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def list_engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def samples(list_engine: sa.Engine) -> Iterator[Samples]:
    with own_schema(list_engine) as schema:
        table, rows = sample_table(schema), sample_rows()
        with list_engine.begin() as connection:
            table.create(connection)
            connection.execute(table.insert(), rows)
        yield Samples(list_engine, table, sample_spec(table), rows)


@pytest.fixture
def connection(samples: Samples) -> Iterator[sa.Connection]:
    """One transaction that is rolled back, so that a test may insert and delete."""
    with samples.engine.connect() as connection:
        yield connection
        connection.rollback()
