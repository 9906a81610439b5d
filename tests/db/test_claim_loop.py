"""The loop of those who claim rows: it works on what is due, and loses and repeats nothing when it is stopped."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from runflow.db import claim_loop
from runflow.db.claim_loop import Claimed, ClaimLoop, Extension, NotRecorded, recorded
from runflow.db.notifications import Hub
from tests.support.waiting import until

TOPIC = "job"
NEVER = 3600.0


@dataclass
class Jobs:
    """Rows in memory: those that are due, and what became of the others."""

    due: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    again: dict[str, float] = field(default_factory=dict)
    """In how many seconds a job is due again, once."""
    held_up: dict[str, asyncio.Event] = field(default_factory=dict)
    """What a job waits for."""
    to_next: float | None = None
    failures: int = 0
    """So many looks fail."""
    looks: int = 0
    most: int = 0
    """The most that were worked on at once."""
    going: int = 0
    each: int = 100
    """The most that one look gives."""

    async def claim(self, places: int) -> Claimed[str]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise psycopg.OperationalError("the database is away\nfor good reasons")
        many = min(places, self.each)
        taken, self.due = self.due[:many], self.due[many:]
        return Claimed(taken, more=bool(self.due), seconds_to_next=self.to_next)

    def name_of(self, held: str) -> str:
        return held

    async def work(self, held: str) -> float | None:
        self.begun.append(held)
        self.going += 1
        self.most = max(self.most, self.going)
        try:
            if held == "defect":
                raise ZeroDivisionError
            if held in self.held_up:
                await self.held_up[held].wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.going -= 1
        self.done.append(held)
        seconds = self.again.pop(held, None)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.due.append, held)
        return seconds

    async def release(self, held: Sequence[str]) -> None:
        self.released += held

    async def extend(self, held: Sequence[str]) -> None:
        self.extended += held
        if len(self.extended) == 1:
            raise psycopg.OperationalError("the database is away")


@pytest.fixture
def hub() -> Hub:
    """Hints of this process; it is never connected."""
    return Hub(make_url("postgresql://nobody@nowhere/nothing"))


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_loop, "DATABASE_PAUSE_SECONDS", 0.01)


@asynccontextmanager
async def running(jobs: Jobs, hub: Hub, *, most: int = 10, poll: float = NEVER, **more: Any) -> AsyncIterator[Any]:
    """Run a loop as the server does: until cancelled."""
    loop = ClaimLoop(jobs, hub, TOPIC, name="the jobs", most=most, poll=poll, **more)
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_due_is_worked_on_several_at_once(hub: Hub) -> None:
    go = asyncio.Event()
    jobs = Jobs(due=list("abcde"), held_up=dict.fromkeys("abcde", go), each=2)
    async with running(jobs, hub):
        await until(lambda: jobs.begun == list("abcde"))
        go.set()
        await until(lambda: sorted(jobs.done) == list("abcde"))
    assert (jobs.most, jobs.released) == (5, [])


async def test_never_more_than_its_places_and_a_free_one_is_used_at_once(hub: Hub) -> None:
    jobs = Jobs(due=[str(number) for number in range(20)])
    async with running(jobs, hub, most=3):
        await until(lambda: len(jobs.done) == 20)
    assert jobs.most == 3


async def test_a_hint_wakes_it_and_is_not_forgotten_while_every_place_is_taken(hub: Hub) -> None:
    jobs = Jobs()
    async with running(jobs, hub, most=1):
        await until(lambda: jobs.looks)
        jobs.held_up["a"] = asyncio.Event()
        jobs.due.append("a")
        hub.publish(TOPIC)
        await until(lambda: jobs.begun == ["a"])
        jobs.due.append("b")
        hub.publish(TOPIC)
        jobs.held_up["a"].set()
        await until(lambda: jobs.done == ["a", "b"])


async def test_it_looks_when_the_next_one_is_due_and_now_and_then(hub: Hub) -> None:
    jobs = Jobs(to_next=0.05)
    async with running(jobs, hub):
        await until(lambda: jobs.looks)
        jobs.due.append("a")
        await until(lambda: jobs.done == ["a"])
    polled = Jobs()
    async with running(polled, hub, poll=0.05):
        await until(lambda: polled.looks)
        polled.due.append("a")
        await until(lambda: polled.done == ["a"])


async def test_what_is_due_again_is_looked_for_at_its_time(hub: Hub) -> None:
    jobs = Jobs(due=["late", "soon"], again={"late": NEVER / 2, "soon": 0.02})
    async with running(jobs, hub):
        await until(lambda: jobs.done == ["late", "soon", "soon"])


async def test_it_outlives_failures_of_the_database_and_of_the_work(hub: Hub) -> None:
    jobs = Jobs(due=["defect", "a"], failures=3)
    async with running(jobs, hub):
        await until(lambda: jobs.done == ["a"])
        jobs.due.append("b")
        hub.publish(TOPIC)
        await until(lambda: jobs.done == ["a", "b"])
    assert jobs.released == []


async def test_claims_last_as_long_as_they_are_worked_on(hub: Hub) -> None:
    jobs = Jobs(due=["a"], held_up={"a": asyncio.Event()})
    async with running(jobs, hub, extension=Extension(jobs.extend, 0.01)):
        await until(lambda: len(jobs.extended) >= 3)  # the first time it fails
        jobs.held_up["a"].set()
        await until(lambda: jobs.done)
    assert set(jobs.extended) == {"a"}


async def test_stopping_lets_work_end_takes_nothing_new_and_gives_the_rest_back(hub: Hub) -> None:
    jobs = Jobs(due=["a", "b"], held_up={"a": asyncio.Event(), "b": asyncio.Event()})
    async with running(jobs, hub, grace=0.2) as task:
        await until(lambda: jobs.begun == ["a", "b"])
        task.cancel()
        await until(lambda: not hub._waiters)
        jobs.due.append("c")
        jobs.held_up["a"].set()
        with hub.waiting(TOPIC) as told:
            await asyncio.gather(task, return_exceptions=True)
            assert told.is_set(), "others may take them at once"
    assert (jobs.begun, jobs.done, jobs.released) == (["a", "b"], ["a"], ["b"])


async def test_what_dies_gives_nothing_back(hub: Hub) -> None:
    jobs = Jobs(due=["a"], held_up={"a": asyncio.Event()})
    async with running(jobs, hub, grace=NEVER) as task:
        await until(lambda: jobs.begun == ["a"])
        while not task.done():  # the first time it only stops
            task.cancel()
            await asyncio.sleep(0)
    assert (jobs.done, jobs.released) == ([], [])


async def test_stopping_is_heard_at_any_moment(hub: Hub) -> None:
    for turns in range(20):
        jobs = Jobs()
        async with running(jobs, hub) as task:
            await until(lambda jobs=jobs: jobs.looks, every=0)
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            # The hint and the end come in the same turn of the loop.
            hub.publish(TOPIC)
            task.cancel()
            async with asyncio.timeout(30):
                await asyncio.gather(task, return_exceptions=True)


async def test_an_end_is_recorded_when_the_database_is_back() -> None:
    tried = 0

    async def record() -> str:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise psycopg.OperationalError("the database is away")
        return "recorded"

    assert await recorded(record, seconds=NEVER, failing="cannot record", about={}) == "recorded"
    assert tried == 3


async def test_an_end_that_cannot_be_recorded_in_time_leaves_its_claim_to_lapse(hub: Hub) -> None:
    async def record() -> None:
        raise psycopg.OperationalError("the database is away")

    with pytest.raises(NotRecorded):
        await recorded(record, seconds=0.0, failing="cannot record", about={})

    class Unrecorded(Jobs):
        async def work(self, held: str) -> float | None:
            self.begun.append(held)
            await recorded(record, seconds=0.0, failing="cannot record", about={})
            raise AssertionError

    jobs = Unrecorded(due=["a", "b"])
    async with running(jobs, hub, most=1):
        await until(lambda: jobs.begun == ["a", "b"])
    assert "a" not in jobs.released
