"""The default order must be served by its index at any depth: this reads PostgreSQL's own plan and page counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, build, page
from tests.web.lists.rows import keyed_rows, own_schema

_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class _Runs:
    connection: sa.Connection
    spec: ListSpec
    base: sa.Select[Any]

    def explain(self, query: ListQuery) -> dict[str, Any]:
        statement = build(self.spec, query, self.base)
        sql = statement.compile(self.connection.engine, compile_kwargs={"literal_binds": True})
        raw = self.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}").scalar_one()
        plan: dict[str, Any] = raw[0]["Plan"]
        return plan

    def cursor_at(self, query: ListQuery, depth: int) -> str:
        """The `next` of a page that ends `depth` rows down, taken with an offset instead of walking there."""
        statement = build(self.spec, query, self.base).offset(depth - query.limit)
        cursor = page(self.spec, query, keyed_rows(self.connection, statement)).next
        assert cursor is not None
        return cursor


@pytest.fixture(scope="module")
def runs(list_engine: sa.Engine) -> Iterator[_Runs]:
    with own_schema(list_engine) as schema, list_engine.connect() as connection:
        table = sa.Table(
            "runs",
            sa.MetaData(schema=schema),
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("org_id", sa.Integer, nullable=False),
            sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
            sa.Column("completed_at", sa.DateTime(timezone=True)),
            sa.Column("name", sa.Text, nullable=False),
        )
        sa.Index("runs_newest", table.c.org_id, table.c.created_at.desc(), table.c.id.desc())
        sa.Index("runs_completed", table.c.org_id, table.c.completed_at.desc(), table.c.id.desc())
        table.create(connection)
        connection.exec_driver_sql(
            f"INSERT INTO {schema}.runs SELECT gen_random_uuid(), n %% 2, to_timestamp(1767225600 + n / 3), "
            f"CASE WHEN n %% 5 > 0 THEN to_timestamp(1767225600 + n / 3) END, 'run ' || n "
            f"FROM generate_series(1, {_ROWS}) AS n"
        )
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"VACUUM ANALYZE {schema}.runs")
        fields = (
            ListField("id", table.c.id, FieldKind.UUID),
            ListField("created_at", table.c.created_at, FieldKind.TIMESTAMP),
            ListField("completed_at", table.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
        )
        spec = ListSpec(table, fields, frozenset({"id"}))
        yield _Runs(connection, spec, sa.select(table).where(table.c.org_id == 1))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _pages_read(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("sort_by", "from_prev", "index"),
    [
        ("created_at:desc", False, "runs_newest"),
        ("created_at:desc", True, "runs_newest"),
        ("created_at:asc", False, "runs_newest"),
        ("completed_at:desc", False, "runs_completed"),
    ],
)
def test_a_deep_page_costs_what_the_first_one_costs(runs: _Runs, sort_by: str, from_prev: bool, index: str) -> None:
    first_query = ListQuery(limit=50, sort_by=sort_by, from_prev=from_prev)
    first = runs.explain(first_query)
    pq = runs.cursor_at(ListQuery(limit=50, sort_by=sort_by), 9_000 if not from_prev else 1_000)
    deep = runs.explain(ListQuery(limit=50, sort_by=sort_by, pq=pq, from_prev=from_prev))
    for plan in (first, deep):
        nodes = {node["Node Type"]: node for node in _nodes(plan)}
        assert set(nodes) <= {"Limit", "Result", "Index Scan", "Index Only Scan"}, "no sort, no scan of the table"
        [scan] = [node for name, node in nodes.items() if name.startswith("Index")]
        assert scan["Index Name"] == index
        assert scan["Actual Rows"] == 51
        assert scan.get("Rows Removed by Filter", 0) == 0
    assert "ROW(" in str(deep), "the place is found by a row comparison"
    assert _pages_read(deep) <= 2 * _pages_read(first) + 8
