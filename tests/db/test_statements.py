"""What Core builds, as text and values of the driver."""

from uuid import UUID

from psycopg.types.json import Json
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, insert, select

from runflow.db.statements import compiled
from runflow.db.tables import json_column, uuid_column

CATS = Table(
    "cats",
    MetaData(),
    uuid_column("id", primary_key=True),
    Column("name", Text),
    json_column("traits"),
    Column("age", Integer),
)
ID = UUID("0190d3a1-4b1c-7e2f-8a55-1f2e3d4c5b6a")


def test_values_are_beside_the_text_and_never_in_it() -> None:
    sql, values = compiled(select(CATS.c.name).where(CATS.c.id == ID, CATS.c.name == "100 % o'Malley"))
    assert "Malley" not in sql and set(values.values()) == {ID, "100 % o'Malley"}


def test_a_list_becomes_as_many_values() -> None:
    sql, values = compiled(select(CATS.c.name).where(CATS.c.age.in_([3, 4])))
    assert sorted(values.values()) == [3, 4] and sql.count("%(") == 2


def test_json_is_wrapped_and_none_stays_none() -> None:
    _, values = compiled(insert(CATS).values(id=ID, traits={"lazy": True}))
    assert isinstance(values["traits"], Json) and values["traits"].obj == {"lazy": True}
    _, values = compiled(insert(CATS).values(id=ID, traits=None))
    assert values["traits"] is None


def test_many_rows_are_one_statement() -> None:
    sql, values = compiled(insert(CATS).values([{"id": ID, "traits": [1]}, {"id": ID, "traits": [2]}]))
    assert sql.count("INSERT") == 1 and len(values) == 4


def test_named_values_are_given_by_the_caller() -> None:
    sql, values = compiled(select(CATS.c.name).where(CATS.c.age > bindparam("least")), {"least": 2})
    assert "%(least)s" in sql and values == {"least": 2}


def test_a_percent_sign_of_the_text_is_no_placeholder() -> None:
    sql, _ = compiled(select((CATS.c.age % 2).label("odd")))
    assert "%%" in sql
