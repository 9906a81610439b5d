import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from runflow.deliveries.sending.sender import DeliverySender
from runflow.deliveries.sending.slots import Slots
from runflow.ids import new_id
from runflow.outgoing import GuardedClient
from tests.deliveries.outbox import FAST, SIGNING, Impatient, Outbox, running
from tests.support.receivers import (
    Behaviour,
    Received,
    Receiver,
    answering,
    dripping,
    endless,
    hanging,
    receiver,
    resetting,
)
from tests.support.waiting import until


@pytest.fixture
async def client() -> AsyncIterator[Impatient]:
    async with Impatient("127.0.0.0/8") as opened:
        yield opened


def answers(*statuses: int) -> Behaviour:
    """Answer with these statuses in turn, then with 200."""
    left = list(statuses)

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(left.pop(0) if left else 200)(received, reader, writer)

    return behave


async def test_a_delivery(outbox: Outbox, client: GuardedClient) -> None:
    async with receiver(answering(202, b"thanks")) as hook, running(DeliverySender(outbox, client, SIGNING)):
        made = await outbox.add(hook.url("/hook?x=1"), payload=b'{"a":  1}', request_id="req-1")
        (row,) = await outbox.ended(made)
    (seen,), (attempt,) = hook.requests, await outbox.attempts(made)
    assert (seen.method, seen.path, seen.body) == ("POST", "/hook?x=1", b'{"a":  1}')
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["runflow-request-id"] == "req-1"
    assert seen.headers["webhook-id"] == str(made)
    assert abs(int(seen.headers["webhook-timestamp"]) - time.time()) < 60
    assert "runflow-signature" not in seen.headers
    assert "webhook-signature" not in seen.headers
    assert (row.status_code, row.attempt_count, row.failure_reason_code) == ("succeeded", 1, None)
    assert (attempt.status_code, attempt.response_body, attempt.error_message) == (202, "thanks", None)
    assert attempt.response_time_ms is not None and 0 <= attempt.response_time_ms < 30_000


async def test_a_hint_is_enough(outbox: Outbox, client: GuardedClient) -> None:
    patient = replace(FAST, poll=120)
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=patient)):
        for _ in range(3):
            await outbox.ended(await outbox.add(hook.url()))


async def test_a_slot_that_gets_free_is_used_at_once(outbox: Outbox, client: GuardedClient) -> None:
    patient = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, poll=120), slots=Slots(1, 1, 1))
    async with receiver(answering()) as hook:
        made = [await outbox.add(hook.url()) for _ in range(5)]
        async with running(patient):
            await outbox.ended(*made)
        assert hook.most_open == 1


async def test_a_hint_while_every_slot_is_taken_is_not_forgotten(outbox: Outbox, client: GuardedClient) -> None:
    release = asyncio.Event()

    async def behave(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await answering()(received, reader, writer)

    patient = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, poll=120), slots=Slots(1, 2, 2))
    async with receiver(behave) as hook, running(patient):
        first = await outbox.add(hook.url())
        await until(lambda: hook.open == 1)
        second = await outbox.add(hook.url())
        release.set()
        await outbox.ended(first, second)


async def test_tried_again_until_it_succeeds(outbox: Outbox, client: GuardedClient) -> None:
    async with receiver(answers(500, 404)) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        made = await outbox.add(hook.url())
        (row,) = await outbox.ended(made)
    assert (row.status_code, row.attempt_count, row.failure_reason_code) == ("succeeded", 3, None)
    attempts = await outbox.attempts(made)
    assert [(a.attempt_number, a.status_code) for a in attempts] == [(1, 500), (2, 404), (3, 200)]
    assert {seen.headers["webhook-id"] for seen in hook.requests} == {str(made)}
    assert {seen.body for seen in hook.requests} == {b'{"a": 1}'}


async def test_gone_is_not_tried_again(outbox: Outbox, client: GuardedClient) -> None:
    async with receiver(answering(410)) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        made = await outbox.add(hook.url())
        (row,) = await outbox.ended(made)
    assert (row.status_code, row.failure_reason_code, row.attempt_count) == ("failed", "http_status", 1)
    assert len(hook.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/hook",
        "http://169.254.169.254/latest",
        "http://[::1]:80/",
        "https://user:pw@h.example/",
        "ftp://h",
    ],
)
async def test_refused_addresses_fail_at_once(outbox: Outbox, client: GuardedClient, url: str) -> None:
    async with running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        made = await outbox.add(url)
        (row,) = await outbox.ended(made)
    (attempt,) = await outbox.attempts(made)
    assert (row.status_code, row.failure_reason_code) == ("failed", "blocked_address")
    assert attempt.status_code is None
    assert "pw" not in (attempt.error_message or "pw")


def _to(location: str) -> Behaviour:
    return answering(302, b"", Location=location)


@pytest.mark.parametrize(
    ("behave", "reason", "status", "says"),
    [
        (hanging, "timeout", None, "did not answer completely within"),
        (dripping(b"HTTP/1.1 2"), "timeout", None, "did not answer completely within"),
        (resetting, "connection", None, "127.0.0.1"),
        (_to("/again"), "too_many_redirects", None, "redirects more than 3 times"),
        (answering(500, b"x" * 5000), "http_status", 500, "answered with HTTP status 500"),
    ],
    ids=["hang", "drip", "reset", "redirects", "500"],
)
async def test_every_misbehaviour_ends_with_a_reason(
    outbox: Outbox, client: Impatient, behave: Behaviour, reason: str, status: int | None, says: str
) -> None:
    slow = replace(FAST, delays=(0, 3600))
    async with receiver(behave) as hook, running(DeliverySender(outbox, client, SIGNING, timing=slow)):
        if reason == "timeout":
            client.limits[hook.port] = 0.3
        made = await outbox.add(hook.url("/hook?token=secret"), max_attempts=2)
        async with asyncio.timeout(30):
            while not (between := await outbox.delivery(made)).attempt_count:
                await asyncio.sleep(0.01)
        await outbox.make_due(made)
        (row,) = await outbox.ended(made)
    attempts = await outbox.attempts(made)
    assert (between.status_code, between.failure_reason_code) == ("pending", reason)
    assert (row.status_code, row.failure_reason_code, row.attempt_count) == ("failed", "exhausted", 2)
    assert says in (row.failure_detail or "")
    assert [(a.attempt_number, a.status_code) for a in attempts] == [(1, status), (2, status)]
    assert all(a.error_message and says in a.error_message and "secret" not in a.error_message for a in attempts)
    assert all(len(a.response_body or "") <= 2048 for a in attempts)


async def test_a_gigabyte_is_cut_off(outbox: Outbox, client: GuardedClient) -> None:
    made_of: list[Receiver] = []
    behave = endless(made_of, b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    async with receiver(behave) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        made_of.append(hook)
        made = await outbox.add(hook.url())
        (row,) = await outbox.ended(made)
        await until(lambda: not hook.open)
    (attempt,) = await outbox.attempts(made)
    assert (row.status_code, len(attempt.response_body or "")) == ("succeeded", 2048)
    assert hook.bytes_sent < 32 * 1024 * 1024


async def test_redirects_to_inner_addresses_are_refused(outbox: Outbox, client: GuardedClient) -> None:
    engine = DeliverySender(outbox, client, SIGNING, timing=FAST)
    async with receiver(_to("http://169.254.169.254/latest/meta-data/")) as hook, running(engine):
        (row,) = await outbox.ended(await outbox.add(hook.url()))
    assert (row.failure_reason_code, row.attempt_count) == ("blocked_address", 1)


async def test_a_dead_receiver_delays_nobody(outbox: Outbox, client: GuardedClient) -> None:
    engine = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, grace=0), slots=Slots(8, 8, 3))
    async with receiver(hanging) as dead, receiver(answering()) as alive, running(engine):
        waiting = [await outbox.add(dead.url()) for _ in range(30)]
        await until(lambda: dead.open == 3)
        # None of the dead receiver's attempts ends within this.
        await outbox.ended(*[await outbox.add(alive.url()) for _ in range(30)], seconds=FAST.timeout / 2)
        assert dead.most_open == 3
        assert [(await outbox.delivery(made)).status_code for made in waiting] == ["pending"] * 30


async def test_many_dead_receivers_delay_others_once_and_not_again(outbox: Outbox, client: Impatient) -> None:
    slots = Slots(8, 8, 2, per_hanging_host=1)
    engine = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, delays=(0, 0.01), grace=0), slots=slots)
    async with AsyncExitStack() as stack:
        dead = [await stack.enter_async_context(receiver(hanging)) for _ in range(4)]
        alive = await stack.enter_async_context(receiver(answering()))
        for hook in dead:
            client.limits[hook.port] = 0.5
            for _ in range(20):
                await outbox.add(hook.url())
        await stack.enter_async_context(running(engine))
        await until(lambda: all(len(hook.requests) >= 3 for hook in dead))
        assert [hook.most_open for hook in dead] == [2] * 4
        # Every host was seen to hang. From now on none of their attempts ends before those of the good one must.
        client.limits.clear()
        before = [len(hook.requests) for hook in dead]
        await until(lambda: all(len(hook.requests) > seen for hook, seen in zip(dead, before, strict=True)))
        await outbox.ended(*[await outbox.add(alive.url()) for _ in range(20)], seconds=FAST.timeout / 2)
        assert [hook.open for hook in dead] == [1] * 4


async def test_large_payloads_for_a_dead_receiver_do_not_fill_the_memory(outbox: Outbox, client: GuardedClient) -> None:
    bounded = Slots(total_bytes=10_000, bytes_per_org=5_000)
    engine = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, grace=0), slots=bounded)
    async with receiver(hanging) as dead, receiver(answering()) as alive, running(engine):
        for _ in range(6):
            await outbox.add(dead.url(), payload=b"x" * 2_000)
        await until(lambda: dead.open == 2)
        await outbox.ended(await outbox.add(alive.url(), payload=b"x" * 2_000, org_id=new_id()), seconds=30)
        assert dead.most_open == 2


async def test_an_organization_with_many_dead_receivers_delays_no_other(outbox: Outbox, client: GuardedClient) -> None:
    engine = DeliverySender(outbox, client, SIGNING, timing=replace(FAST, grace=0), slots=Slots(8, 4, 4))
    async with receiver(hanging) as dead, receiver(answering()) as alive, running(engine):
        for name in ("127.0.0.1", "localhost", "127.1", "0x7f.1"):
            for _ in range(4):
                await outbox.add(dead.url(host=name))
        await until(lambda: dead.open == 4)
        await outbox.ended(await outbox.add(alive.url(), org_id=new_id()), seconds=30)
        assert dead.most_open == 4


async def test_engines_share_the_outbox_and_send_everything_once(outbox: Outbox, client: GuardedClient) -> None:
    engines = [DeliverySender(outbox, client, SIGNING, timing=FAST, slots=Slots(6, 6, 6)) for _ in range(3)]
    async with receiver(answering()) as hook, running(*engines):
        made = [await outbox.add(hook.url()) for _ in range(60)]
        rows = await outbox.ended(*made)
    assert {row.status_code for row in rows} == {"succeeded"}
    assert sorted(seen.headers["webhook-id"] for seen in hook.requests) == sorted(map(str, made))
    again = [a.error_message for one in made for a in await outbox.attempts(one) if a.status_code != 200]
    assert not again, "an attempt that failed and was repeated"
