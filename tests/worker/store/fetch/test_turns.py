"""Runs fetch first; what is fetched beforehand gives way and goes on."""

import asyncio

import pytest

from runflow.worker.store.fetch.turns import Turns
from tests.support.waiting import until


class Fetch:
    """Fetches when it is let, and counts how often it was begun and broken off."""

    def __init__(self) -> None:
        self.begun = self.broken_off = self.waited = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        return "fetched"

    def waits(self) -> None:
        self.waited += 1


async def test_it_is_broken_off_for_runs_and_begun_again_after_the_last_of_them() -> None:
    turns, fetch = Turns(), Fetch()
    behind = asyncio.create_task(turns.behind(fetch, fetch.waits))
    await until(lambda: fetch.begun == 1)
    with turns.first():
        await until(lambda: fetch.waited == 1)
        assert fetch.broken_off == 1
        with turns.first():
            pass
        assert fetch.begun == 1 and not behind.done()
    await until(lambda: fetch.begun == 2)
    fetch.go.set()
    assert (await behind, fetch.waited, fetch.broken_off) == ("fetched", 1, 1)


async def test_it_is_not_begun_while_a_run_fetches() -> None:
    turns, fetch = Turns(), Fetch()
    fetch.go.set()
    with turns.first():
        behind = asyncio.create_task(turns.behind(fetch, fetch.waits))
        await until(lambda: fetch.waited == 1)
        assert fetch.begun == 0
    assert await behind == "fetched"


async def test_who_stops_it_stops_the_fetching_and_its_failure_is_told() -> None:
    turns, fetch = Turns(), Fetch()
    behind = asyncio.create_task(turns.behind(fetch, fetch.waits))
    await until(lambda: fetch.begun == 1)
    behind.cancel()
    with pytest.raises(asyncio.CancelledError):
        await behind
    assert fetch.broken_off == 1

    async def fails() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await turns.behind(fails, fetch.waits)
