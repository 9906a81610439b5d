"""Hints between processes: told at once here, soon elsewhere, and everyone looks after a gap."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import psycopg
import pytest
from sqlalchemy import URL

from runflow.db.database import Database
from runflow.db.notifications import Hub
from tests.support.waiting import until

KILL_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runflow-hub'"


@pytest.fixture
async def hubs(db: Database) -> AsyncIterator[tuple[Hub, Hub]]:
    pair = (Hub(db.system_url), Hub(db.system_url))
    for hub in pair:
        await hub.start()
    await until(lambda: all(hub.connected for hub in pair))
    yield pair
    for hub in pair:
        await hub.stop()


async def test_a_hint_reaches_waiters_here_at_once_and_elsewhere_soon(hubs: tuple[Hub, Hub]) -> None:
    here, there = hubs
    with here.waiting("run", "a") as mine, there.waiting("run", "a") as theirs, there.waiting("run", "b") as other:
        here.publish("run", "a")
        assert mine.is_set()
        await asyncio.wait_for(theirs.wait(), 60)
        assert not other.is_set()


async def test_many_hints_fit_few_notifications_and_all_arrive(hubs: tuple[Hub, Hub]) -> None:
    here, there = hubs
    seen: list[str] = []
    there.on("run", seen.append)
    subjects = [f"subject-{number:05}" for number in range(2000)]
    for subject in subjects:
        here.publish("run", subject)
    await until(lambda: len(seen) >= len(subjects))
    assert seen == subjects


async def test_a_handler_that_fails_ends_nobody_s_listening(hubs: tuple[Hub, Hub]) -> None:
    here, there = hubs

    def fails(subject: str) -> None:
        raise ValueError(subject)

    there.on("run", fails)
    seen: list[str] = []
    there.on("run", seen.append)
    for subject in ("a", "b"):
        here.publish("run", subject)
        await until(lambda last=subject: last in seen)
    assert there.connected


async def test_after_a_broken_connection_everyone_looks(hubs: tuple[Hub, Hub], db_url: URL) -> None:
    _, there = hubs
    seen: list[str] = []
    there.on("key", seen.append)
    dsn = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with there.waiting("run", "a") as event:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(KILL_LISTENERS)
        await asyncio.wait_for(event.wait(), 60)
    await until(lambda: there.connected)
    assert "" in seen


async def test_after_a_restart_of_the_database_the_sender_of_another_process_is_not_taken_for_one_s_own(
    hubs: tuple[Hub, Hub], db_url: URL
) -> None:
    """Its connection may have got the number that one's own had before."""
    here, there = hubs
    await until(lambda: here._sender_pid and there._sender_pid)
    there._sender_pid = here._sender_pid
    dsn = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(KILL_LISTENERS)
    await until(lambda: all(hub.connected and hub.connections > 1 for hub in hubs))
    with there.waiting("key", "revoked") as event:
        here.publish("key", "revoked")
        await asyncio.wait_for(event.wait(), 60)


async def test_a_process_that_is_alone_tells_nobody_else_until_another_starts(
    db: Database, db_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.db.notifications.PEERS_SECONDS", 0.1)
    monkeypatch.setattr("runflow.db.notifications.LISTENER", "runflow-hub-test")
    first, second = Hub(db.system_url), Hub(db.system_url)
    await first.start()
    try:
        await until(lambda: first._alone)
        first.publish("run", "unheard")
        assert not first._outbox
        await second.start()
        await until(lambda: second.connected and not first._alone)
        with second.waiting("run", "heard") as event:
            first.publish("run", "heard")
            await asyncio.wait_for(event.wait(), 60)
    finally:
        await first.stop()
        await second.stop()


class Sending:
    """A connection on which a notification is under way until it is let go, or breaks."""

    def __init__(self) -> None:
        self.sent: list[list[list[str]]] = []
        self.go = asyncio.Event()
        self.breaks = False

    async def execute(self, _statement: str, values: list[str]) -> None:
        self.sent.append(orjson.loads(values[1]))
        await self.go.wait()
        if self.breaks:
            raise OSError("gone")


async def test_a_hint_that_is_given_while_the_same_one_is_under_way_goes_out_again(db: Database) -> None:
    """It tells of what was committed since: who looked for the first one has not seen that."""
    hub, connection = Hub(db.system_url), Sending()
    hub.publish("lanes", "a")
    sending = asyncio.create_task(hub._send(connection))  # type: ignore[arg-type]
    await until(lambda: connection.sent)
    for _ in range(2):
        hub.publish("lanes", "a")
    connection.go.set()
    await sending
    await hub._send(connection)  # type: ignore[arg-type]
    assert connection.sent == [[["lanes", "a"]]] * 2 and not hub._outbox


async def test_hints_of_a_notification_that_breaks_are_sent_again(db: Database) -> None:
    hub, connection = Hub(db.system_url), Sending()
    connection.breaks = True
    connection.go.set()
    for subject in "ab":
        hub.publish("lanes", subject)
    with pytest.raises(OSError, match="gone"):
        await hub._send(connection)  # type: ignore[arg-type]
    connection.breaks = False
    await hub._send(connection)  # type: ignore[arg-type]
    assert connection.sent == [[["lanes", "a"], ["lanes", "b"]]] * 2 and not hub._outbox
