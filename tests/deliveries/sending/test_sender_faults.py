import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import psycopg
import pytest
from psycopg import OperationalError
from sqlalchemy import URL

from runflow.db.claim_loop import Claimed
from runflow.db.database import Database
from runflow.db.transaction import Transaction
from runflow.deliveries.sending.sender import DeliverySender, Sending, Timing
from runflow.master_key import MasterKey
from runflow.outgoing import GuardedClient
from tests.deliveries.outbox import FAST, SIGNING, Impatient, Outbox, kill, running
from tests.support.receivers import Received, answering, hanging, receiver
from tests.support.waiting import until


@pytest.fixture
async def client() -> AsyncIterator[Impatient]:
    async with Impatient("127.0.0.0/8") as opened:
        yield opened


class Unreachable(Outbox):
    """A database that fails twice when the first attempt is to be recorded."""

    def __init__(self, outbox: Outbox) -> None:
        self.failures = 2
        super().__init__(cast(Database, self), outbox.hub)
        self._real = outbox.db

    @contextlib.asynccontextmanager
    async def system(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        if durable and self.failures:
            self.failures -= 1
            raise OperationalError("the database is away")
        async with self._real.system(durable=durable) as transaction:
            yield transaction


async def test_killed_between_sending_and_recording_it_sends_one_duplicate(
    outbox: Outbox, client: GuardedClient
) -> None:
    async with receiver(hanging) as hook:
        task = asyncio.create_task(DeliverySender(outbox, client, SIGNING, timing=replace(FAST, grace=30)).run())
        made = await outbox.add(hook.url())
        await until(lambda: len(hook.requests) == 1)
        await kill(task)
        row = await outbox.delivery(made)
        assert (row.status_code, row.attempt_count) == ("pending", 0)
        assert row.claimed_until is not None, "a dead process gives nothing back"
        # Nobody waits a minute in a test: its claim lapses now.
        async with outbox.db.system() as transaction:
            await transaction.run("UPDATE deliveries SET claimed_until = now() - interval '1 second'")
        hook.behave = answering()
        async with running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
            (row,) = await outbox.ended(made)
    assert (row.status_code, row.attempt_count) == ("succeeded", 1)
    assert [seen.headers["webhook-id"] for seen in hook.requests] == [str(made)] * 2
    assert [attempt.attempt_number for attempt in await outbox.attempts(made)] == [1]


async def test_a_claim_of_a_dead_process_lapses_by_itself(outbox: Outbox, client: Impatient) -> None:
    short = Timing(timeout=0.3, margin=0.3, poll=0.1, grace=30)
    async with receiver(hanging) as hook:
        # Its claim is short, its attempt is not: it must not end before the process does.
        client.limits[hook.port] = 60
        task = asyncio.create_task(DeliverySender(outbox, client, SIGNING, timing=short).run())
        made = await outbox.add(hook.url())
        await until(lambda: len(hook.requests) == 1)
        await kill(task)
        hook.behave = answering()
        async with running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
            (row,) = await outbox.ended(made)
    assert (row.status_code, row.attempt_count, len(hook.requests)) == ("succeeded", 1, 2)


async def test_stopping_lets_attempts_end(outbox: Outbox, client: GuardedClient) -> None:
    release = asyncio.Event()

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await answering()(received, reader, writer)

    async with receiver(behave) as hook:
        task = asyncio.create_task(DeliverySender(outbox, client, SIGNING, timing=replace(FAST, grace=60)).run())
        made = await outbox.add(hook.url())
        await until(lambda: len(hook.requests) == 1)
        task.cancel()
        await until(lambda: not outbox.hub._waiters)
        later = await outbox.add(hook.url())
        release.set()
        await asyncio.gather(task, return_exceptions=True)
    assert (await outbox.delivery(made)).status_code == "succeeded"
    assert (await outbox.delivery(later)).claimed_until is None, "nothing new is taken"


async def test_stopping_gives_back_what_does_not_end(outbox: Outbox, client: GuardedClient) -> None:
    stubborn = replace(FAST, grace=0.1)
    async with receiver(hanging) as hook:
        async with running(DeliverySender(outbox, client, SIGNING, timing=stubborn)):
            made = await outbox.add(hook.url())
            await until(lambda: len(hook.requests) == 1)
        assert (await outbox.delivery(made)).claimed_until is None
        hook.behave = answering()
        async with running(DeliverySender(outbox, client, SIGNING)):
            await outbox.ended(made)


async def test_a_database_that_drops_its_connections_loses_nothing(
    outbox: Outbox, client: GuardedClient, owner_url: URL
) -> None:
    dsn = owner_url.set(drivername="postgresql").render_as_string(hide_password=False)
    drop = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = 'outbox'"
    release = asyncio.Event()

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await answering()(received, reader, writer)

    async with (
        receiver(behave) as hook,
        running(DeliverySender(outbox, client, SIGNING, timing=FAST)),
    ):
        made = [await outbox.add(hook.url()) for _ in range(10)]
        await until(lambda: len(hook.requests) == 10)
        # Every pooled connection is dead when the attempts are to be recorded.
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(drop)
        release.set()
        rows = await outbox.ended(*made)
    assert {(row.status_code, row.attempt_count) for row in rows} == {("succeeded", 1)}
    assert sorted(seen.headers["webhook-id"] for seen in hook.requests) == sorted(map(str, made))


async def test_an_attempt_is_recorded_when_the_database_is_back(outbox: Outbox, client: GuardedClient) -> None:
    engine = DeliverySender(Unreachable(outbox), client, SIGNING, timing=FAST)
    async with receiver(answering()) as hook, running(engine):
        (row,) = await outbox.ended(await outbox.add(hook.url()))
    assert (row.status_code, row.attempt_count, len(hook.requests)) == ("succeeded", 1, 1)


class Observed(DeliverySender):
    """Says when it has looked at the outbox and begins to wait, in the same turn of the loop."""

    looked = asyncio.Event()

    async def claim(self, places: int) -> Claimed[Sending]:
        found = await super().claim(places)
        self.looked.set()
        return found


async def test_stopping_is_heard_at_any_moment(outbox: Outbox, client: GuardedClient) -> None:
    engine = Observed(outbox, client, SIGNING, timing=FAST)
    for _ in range(20):
        task = asyncio.create_task(engine.run())
        await engine.looked.wait()
        engine.looked.clear()
        # The hint and the end come in the same turn of the loop.
        outbox.hub.publish("delivery")
        task.cancel()
        async with asyncio.timeout(30):
            await asyncio.gather(task, return_exceptions=True)


async def test_a_secret_that_does_not_open_sends_nothing_unsigned(outbox: Outbox, client: GuardedClient) -> None:
    org = await outbox.new_org()
    await outbox.add_secret(org, "whsec_AAAA", key=MasterKey("another" * 8))
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        (row,) = await outbox.ended(await outbox.add(hook.url(), org_id=org, max_attempts=2))
    assert (row.status_code, row.failure_reason_code, row.attempt_count) == ("failed", "exhausted", 2)
    assert "could not sign" in (row.failure_detail or "")
    assert hook.requests == []


async def test_a_defect_is_an_attempt_with_a_reason(outbox: Outbox, client: GuardedClient) -> None:
    org = await outbox.new_org()
    await outbox.add_secret(org, "not a secret")
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        (row,) = await outbox.ended(await outbox.add(hook.url(), org_id=org, max_attempts=2))
    assert (row.status_code, row.failure_reason_code, row.attempt_count) == ("failed", "exhausted", 2)
    assert hook.requests == []
