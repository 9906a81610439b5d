"""A row that fails is left alone for a while; the fault of a database is no row's."""

import psycopg
import pytest

from runflow.db.set_aside import FAILURES_IN_A_ROW, FIRST_SECONDS, LONGEST_PAUSES, MOST, SetAside
from runflow.ids import new_id


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def fail(error: Exception | None = None) -> None:
    raise error or ValueError("this row cannot be read\nnor told in one line")


async def work() -> None:
    pass


async def test_each_failure_doubles_the_pause_and_a_success_ends_it() -> None:
    clock, row = Clock(), new_id()
    rows = SetAside("lease", clock=clock)
    for pause in (FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS):
        assert not await rows.attempt(row, fail())
        clock.now += pause - 0.1
        assert rows.ids == [row]
        clock.now += 0.2
        assert rows.ids == []
    assert await rows.attempt(row, work())
    assert not await rows.attempt(row, fail())
    clock.now += FIRST_SECONDS
    assert rows.ids == []


async def test_pauses_and_memory_have_an_end() -> None:
    clock, row = Clock(), new_id()
    rows = SetAside("lease", clock=clock)
    for _ in range(20):
        await rows.attempt(row, fail())
        await rows.attempt(new_id(), work())
    clock.now += LONGEST_PAUSES * FIRST_SECONDS
    assert rows.ids == []
    for _ in range(MOST + 5):
        await rows.attempt(new_id(), fail())
        await rows.attempt(new_id(), work())
    assert len(rows.ids) == MOST


async def test_the_database_and_many_failures_in_a_row_end_the_round() -> None:
    rows = SetAside("lease")
    with pytest.raises(psycopg.OperationalError):
        await rows.attempt(new_id(), fail(psycopg.OperationalError("gone")))
    assert rows.ids == []
    for _ in range(FAILURES_IN_A_ROW - 1):
        await rows.attempt(new_id(), fail())
    with pytest.raises(ValueError, match="this row"):
        await rows.attempt(new_id(), fail())
    assert len(rows.ids) == FAILURES_IN_A_ROW
