"""Statements that gather and leave together: what they mean must not depend on it."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Boolean, Select, literal_column, select

from runflow.db.database import Database
from runflow.db.wire import MAX_BUILT, MAX_PREPARED, PREPARE_AFTER, parse
from runflow.ids import new_id

ADD = "INSERT INTO organizations (id, slug, name) VALUES (%(id)s, %(slug)s, 'x')"
COUNT_OPEN = "SELECT count(*) FROM pg_prepared_statements"


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class One:
    one: int


@dataclass(frozen=True, slots=True)
class Pair:
    number: int
    nothing: None


@dataclass(frozen=True, slots=True)
class Mixed:
    id: UUID
    data: dict[str, Any]


def test_placeholders_become_numbers() -> None:
    assert parse("SELECT %(a)s, %(b)s, %(a)s, 7 %% 2") == (b"SELECT $1, $2, $1, 7 % 2", ("a", "b"))


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT %(value)s::uuid", new_id()),
        ("SELECT %(value)s::text", "it's 100 % \u00e4\u20ac"),
        ("SELECT %(value)s::text", None),
        ("SELECT %(value)s::bigint", 2**40),
        ("SELECT %(value)s::boolean", True),
        ("SELECT %(value)s::text[]", ["a", "b"]),
        ("SELECT %(value)s::float8", 0.25),
    ],
)
async def test_values_come_back_as_they_went(db: Database, sql: str, value: object) -> None:
    async with db.system() as transaction:
        for _ in range(2):  # prepared, and run again
            assert await transaction.values(sql, {"value": value}, of=object) == [value]


async def test_one_statement_takes_values_of_different_types(db: Database) -> None:
    async with db.system() as transaction:
        found = [await transaction.value("SELECT %(value)s::text", {"value": one}, of=str) for one in (1, "x", 2**40)]
    assert found == ["1", "x", str(2**40)]


async def test_large_statements_and_answers_pass_each_other(db: Database) -> None:
    text = "x" * 3_000_000
    async with db.system() as transaction:
        later = [await transaction.later("SELECT %(text)s::text AS text", {"text": text}, row=Text) for _ in range(8)]
    assert [len((await rows.fetchall())[0].text) for rows in later] == [len(text)] * 8


async def test_rows_are_there_whenever_they_are_asked_for(db: Database) -> None:
    async with db.system() as transaction:
        early = await transaction.later("SELECT 1 AS one", row=One)
        late = await transaction.later("SELECT 2 AS one", row=One)
        assert [row.one for row in await early.fetchall()] == [1]
    assert [row.one for row in await late.fetchall()] == [2]
    assert await late.fetchone() is None


async def test_rows_of_different_columns_may_be_read_in_turns(db: Database) -> None:
    async with db.system() as transaction:
        numbers = await transaction.later("SELECT n AS number, NULL AS nothing FROM generate_series(1, 2) n", row=Pair)
        mixed = await transaction.later(
            "SELECT '{\"a\": [1]}'::json AS data, %(id)s::uuid AS id", {"id": (id_ := new_id())}, row=Mixed
        )
    first, only, second = await numbers.fetchone(), await mixed.fetchone(), await numbers.fetchone()
    assert (first, second) == (Pair(1, None), Pair(2, None))
    assert only == Mixed(id_, {"a": [1]})


async def test_rows_of_a_transaction_that_failed_are_never_there(db: Database) -> None:
    with pytest.raises(psycopg.Error):
        async with db.system() as transaction:
            await transaction.run("SELECT 1 / 0")
            later = await transaction.later("SELECT 1 AS one", row=One)
    with pytest.raises(RuntimeError, match="never came"):
        await later.fetchone()


async def test_after_an_error_the_connection_serves_the_next_transaction(db: Database) -> None:
    for broken in ("SELECT 1 / %(value)s::integer", "SELECT nothing FROM nowhere WHERE %(value)s = 1"):
        for _ in range(2):
            with pytest.raises(psycopg.Error):
                async with db.system() as transaction:
                    await transaction.values(broken, {"value": 0}, of=int)
            with pytest.raises(RuntimeError, match="as well"):
                async with db.system() as transaction:
                    await transaction.run(broken, {"value": 0})
                    raise RuntimeError("the caller fails as well")
        async with db.system() as transaction:
            assert await transaction.value("SELECT 1", of=int) == 1


async def test_a_transaction_that_is_cancelled_leaves_nothing_and_a_pool_that_works(db: Database) -> None:
    slug = f"org-{new_id().hex[-12:]}"
    began = asyncio.Event()

    async def slow() -> None:
        async with db.system() as transaction:
            await transaction.change(ADD, {"id": new_id(), "slug": slug})
            began.set()
            await transaction.change("SELECT pg_sleep(30)")

    async with asyncio.timeout(60):
        for _ in range(6):  # more than the pool has connections
            began.clear()
            task = asyncio.create_task(slow())
            await began.wait()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with db.system() as transaction:
            count = "SELECT count(*) FROM organizations WHERE slug = %(s)s"
            found = await transaction.value(count, {"s": slug}, of=int)
            # An insert of the same slug would wait for one that is still open.
            await transaction.run(ADD, {"id": new_id(), "slug": slug})
    assert found == 0


async def test_a_connection_keeps_a_bounded_number_of_prepared_statements_those_used_last(db: Database) -> None:
    async with db.system() as transaction:
        for number in range(MAX_PREPARED + 20):
            assert await transaction.value(f"SELECT {number}", {}, of=int) == number
        # What tests before this one let callers build on this connection is kept beside these.
        assert await transaction.one_value(COUNT_OPEN, of=int) <= MAX_PREPARED + MAX_BUILT
        kept = await transaction.values("SELECT statement FROM pg_prepared_statements", of=str)
    assert f"SELECT {MAX_PREPARED + 19}" in kept and "SELECT 3" not in kept
    async with db.system() as transaction:
        assert await transaction.value("SELECT 3", {}, of=int) == 3


async def test_a_built_statement_is_prepared_once_it_came_often(db: Database) -> None:
    async with db.system() as transaction:
        for times in range(1, PREPARE_AFTER + 3):
            await transaction.value(select(literal_column("4711").label("built")), of=int)
            kept = await transaction.values("SELECT statement FROM pg_prepared_statements", of=str)
            assert any("4711" in one for one in kept) == (times > PREPARE_AFTER)


async def test_callers_filters_fill_no_connection(db: Database) -> None:
    async with db.system() as transaction:
        for number in range(MAX_BUILT + 5):
            for _ in range(PREPARE_AFTER + 1):
                await transaction.value(select(literal_column(f"{number}").label(f"built_by_callers_{number}")), of=int)
        long: Select[tuple[int]] = select(literal_column("1").label("one")).where(
            literal_column(f"'{'y' * 20_000}' <> ''", Boolean)
        )
        for _ in range(PREPARE_AFTER + 2):
            assert await transaction.rows(long, row=One) == [One(1)]
        kept = await transaction.values("SELECT statement FROM pg_prepared_statements", of=str)
    assert len([one for one in kept if "built_by_callers" in one]) == MAX_BUILT
    assert not any("yyyy" in one for one in kept)
