"""One table with a column of every kind, nullable and not, and rows that sit on the edges of every comparison."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.web.lists.pages import Keyed

STATUSES = ("queued", "running", "succeeded", "failed")
STAGES = ("dispatch", "execute", "upload")
_TEXTS = (
    *("", "a", "A", "ab", "aB", "Ab", "b", "z", "é", "ä", "日本", "🦦 otter", "and", "NOT", "null", "true", "42"),
    *(
        "it's",
        'say "hi"',
        "back\\slash",
        "100%",
        "1_000",
        "a_b",
        "a%b",
        "line\nbreak",
        "tab\there",
        " lead",
        "(x)",
        "[y]",
    ),
    *("x,y", "https://host/p?q=1", "=x", "a:b", "2026-01-02", "'; DROP TABLE runs; --", "%(name)s", ":bound", "%s"),
)
_MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
_TIMES = tuple(
    _MIDNIGHT + offset
    for day in (-1, 0, 1)
    for offset in (
        timedelta(days=day),
        timedelta(days=day, microseconds=-1),
        timedelta(days=day, microseconds=1),
        timedelta(days=day, hours=13, minutes=5, seconds=9, microseconds=120),
    )
)
_COSTS = tuple(Decimal(text) for text in ("0", "-1.5", "0.000001", "0.1", "1", "1.000000", "99999.999999"))
_SCORES = (0.0, -0.0, 0.1, 1 / 3, 0.5, 1.0, 1e-12, 123456.789)
_INTS = (0, 1, -1, 7, 20, 2**31 - 1, -(2**31))
_BIGS = (0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63))


def sample_table(schema: str) -> sa.Table:
    """Text is compared by bytes ("C"), so that the database and Python agree about order and about ILIKE."""
    text = sa.Text(collation="C")
    return sa.Table(
        "samples",
        sa.MetaData(schema=schema),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("name", text, nullable=False),
        sa.Column("note", text),
        sa.Column("status_code", text, nullable=False),
        sa.Column("stage_code", text),
        sa.Column("steps", sa.Integer),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.Numeric(12, 6), nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("is_public", sa.Boolean, nullable=False),
        sa.Column("is_warm", sa.Boolean),
        sa.Column("owner_id", sa.Uuid),
    )


def sample_spec(table: sa.Table) -> ListSpec:
    kinds = {
        "id": FieldKind.UUID,
        "created_at": FieldKind.TIMESTAMP,
        "completed_at": FieldKind.TIMESTAMP,
        "name": FieldKind.STRING,
        "note": FieldKind.STRING,
        "status_code": FieldKind.ENUM,
        "stage_code": FieldKind.ENUM,
        "steps": FieldKind.INT,
        "size": FieldKind.INT,
        "cost": FieldKind.DECIMAL,
        "score": FieldKind.DECIMAL,
        "is_public": FieldKind.BOOL,
        "is_warm": FieldKind.BOOL,
        "owner_id": FieldKind.UUID,
    }
    choices = {"status_code": STATUSES, "stage_code": STAGES}
    fields = tuple(
        ListField(name, table.c[name], kind, nullable=bool(table.c[name].nullable), choices=choices.get(name))
        for name, kind in kinds.items()
    )
    return ListSpec(from_=table, fields=fields, response_fields=frozenset(kinds), embeds=frozenset({"logs"}))


def sample_rows(count: int = 90, seed: int = 7) -> list[dict[str, Any]]:
    """Few distinct values per column, so that ties and missing values meet in every sort order."""
    chance = random.Random(seed)
    owners = [_uuid(chance) for _ in range(3)]

    def maybe(values: Any) -> Any:
        return None if chance.random() < 0.3 else chance.choice(values)

    return [
        {
            "id": _uuid(chance),
            "created_at": chance.choice(_TIMES),
            "completed_at": maybe(_TIMES),
            "name": _TEXTS[at % len(_TEXTS)],
            "note": maybe(_TEXTS),
            "status_code": chance.choice(STATUSES),
            "stage_code": maybe(STAGES),
            "steps": maybe(_INTS),
            "size": chance.choice(_BIGS),
            "cost": chance.choice(_COSTS),
            "score": maybe(_SCORES),
            "is_public": chance.choice((True, False)),
            "is_warm": maybe((True, False)),
            "owner_id": maybe(owners),
        }
        for at in range(count)
    ]


def keyed_rows(connection: sa.Connection, statement: sa.Select[Any]) -> list[Keyed[Any]]:
    """Run what `build` made, and return its rows as `page` takes them: apart from the values of their sort keys."""
    found = connection.execute(statement)
    end = list(found.keys()).index("list_key_0")
    return [Keyed(row, tuple(row[end:])) for row in found]


@contextmanager
def own_schema(engine: sa.Engine) -> Iterator[str]:
    """A schema of this test run alone, gone afterwards."""
    name = f"lists_{uuid4().hex[:12]}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    try:
        yield name
    finally:
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(name, cascade=True))


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
