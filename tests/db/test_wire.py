"""Statements that gather and leave together: what they mean must not depend on it."""

import asyncio
from typing import Any

import psycopg
import pytest

from runflow.db.database import Database
from runflow.db.wire import MAX_PREPARED, parse
from runflow.ids import new_id

ADD = "INSERT INTO organizations (id, slug, name) VALUES (%(id)s, %(slug)s, 'x')"
COUNT_OPEN = "SELECT count(*) AS open FROM pg_prepared_statements"


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
    async with db.system() as connection:
        for _ in range(2):  # prepared, and run again
            assert (await connection.one(sql, {"value": value}))[0] == value


async def test_one_statement_takes_values_of_different_types(db: Database) -> None:
    async with db.system() as connection:
        found = [(await connection.one("SELECT %(value)s::text", {"value": value}))[0] for value in (1, "x", 2**40)]
    assert found == ["1", "x", str(2**40)]


async def test_large_statements_and_answers_pass_each_other(db: Database) -> None:
    text = "x" * 3_000_000
    async with db.system() as connection:
        later = [await connection.later("SELECT %(text)s::text AS text", {"text": text}) for _ in range(8)]
    assert [len((await rows.fetchall())[0].text) for rows in later] == [len(text)] * 8


async def test_rows_are_there_whenever_they_are_asked_for(db: Database) -> None:
    async with db.system() as connection:
        early = await connection.later("SELECT 1 AS one")
        late = await connection.later("SELECT 2 AS two")
        assert [row.one for row in await early.fetchall()] == [1]
    assert [row.two for row in await late.fetchall()] == [2]
    assert await late.fetchone() is None


async def test_rows_of_different_columns_may_be_read_in_turns(db: Database) -> None:
    async with db.system() as connection:
        numbers = await connection.later("SELECT n AS number, NULL AS nothing FROM generate_series(1, 2) n")
        mixed = await connection.later(
            "SELECT %(id)s::uuid AS id, '{\"a\": [1]}'::json AS data", {"id": (id_ := new_id())}
        )
    first, only, second = await numbers.fetchone(), await mixed.fetchone(), await numbers.fetchone()
    assert (first, second) == ((1, None), (2, None))
    assert only is not None and (only.id, only.data) == (id_, {"a": [1]})


async def test_rows_of_a_transaction_that_failed_are_never_there(db: Database) -> None:
    with pytest.raises(psycopg.Error):
        async with db.system() as connection:
            await connection.run("SELECT 1 / 0")
            later = await connection.later("SELECT 1 AS one")
    with pytest.raises(RuntimeError, match="never came"):
        await later.fetchone()


async def test_after_an_error_the_connection_serves_the_next_transaction(db: Database) -> None:
    for broken in ("SELECT 1 / %(value)s::integer", "SELECT nothing FROM nowhere WHERE %(value)s = 1"):
        for _ in range(2):
            with pytest.raises(psycopg.Error):
                async with db.system() as connection:
                    await connection.rows(broken, {"value": 0})
            with pytest.raises(RuntimeError, match="as well"):
                async with db.system() as connection:
                    await connection.run(broken, {"value": 0})
                    raise RuntimeError("the caller fails as well")
        async with db.system() as connection:
            assert (await connection.one("SELECT 1 AS one")).one == 1


async def test_a_transaction_that_is_cancelled_leaves_nothing_and_a_pool_that_works(db: Database) -> None:
    slug = f"org-{new_id().hex[-12:]}"
    began = asyncio.Event()

    async def slow() -> None:
        async with db.system() as connection:
            await connection.rows(
                ADD + " RETURNING id",
                {"id": new_id(), "slug": slug},
            )
            began.set()
            await connection.rows("SELECT pg_sleep(30)")

    async with asyncio.timeout(60):
        for _ in range(6):  # more than the pool has connections
            began.clear()
            task = asyncio.create_task(slow())
            await began.wait()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with db.system() as connection:
            found = await connection.one("SELECT count(*) AS n FROM organizations WHERE slug = %(s)s", {"s": slug})
            # An insert of the same slug would wait for one that is still open.
            await connection.run(ADD, {"id": new_id(), "slug": slug})
    assert found.n == 0


async def test_a_connection_keeps_a_bounded_number_of_prepared_statements(db: Database) -> None:
    async with db.system() as connection:
        for number in range(MAX_PREPARED + 20):
            assert (await connection.one(f"SELECT {number} AS number", {})).number == number
        kept: Any = await connection.one(COUNT_OPEN)
    assert kept.open <= MAX_PREPARED
