"""While receivers hang, reset, redirect inwards, fail, or never stop talking, memory and everyone else stay calm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import psutil
import pytest

from runflow.deliveries.sending.sender import DeliverySender
from runflow.deliveries.sending.slots import Slots
from runflow.ids import new_id
from tests.deliveries.outbox import FAST, SIGNING, Impatient, Outbox, running
from tests.support.receivers import Behaviour, Received, Receiver, answering, endless, hanging, receiver, resetting
from tests.support.waiting import until

EACH = 20
"""Messages for each bad receiver."""
SHORT_SECONDS, LONG_SECONDS = 0.2, 120.0
"""How long one receiver is let hang, and how long another: longer than a good one may ever wait."""
PATIENT = replace(FAST, timeout=60, delays=(0, 0.05, 0.1), grace=0)
MEMORY_MIB = 60
"""Generous: 96 attempts at once hold a few buffers each. A body that is read to its end would need gigabytes."""
FIRST = 2 * Slots().per_org
"""So many requests of the bad receivers' organization may arrive before a good one that was added before them: those on

their way, and those claimed together with it. One that waits its turn behind the bad ones' messages comes after more.
"""


@pytest.fixture
async def client() -> AsyncIterator[Impatient]:
    """The guard is on: of the whole loopback network only this one address is allowed."""
    async with Impatient("127.0.0.1/32") as opened:
        yield opened


GIGABYTE = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
HEADERS = b"HTTP/1.1 200 OK\r\nX-Long: "

REASONS = {
    "hangs": ("exhausted", 3),
    "resets": ("exhausted", 3),
    "redirects inwards": ("blocked_address", 1),
    "500": ("exhausted", 3),
    "404": ("exhausted", 3),
    "410": ("http_status", 1),
    "gigabyte": (None, 1),
    "endless header": ("exhausted", 3),
}
"""How a delivery to each ends: `failure_reason_code`, attempts."""


async def test_bad_receivers_disturb_nobody(outbox: Outbox, client: Impatient) -> None:
    talking: list[Receiver] = []
    shouting: list[Receiver] = []
    behaviours: dict[str, Behaviour] = {
        "hangs": hanging,
        "resets": resetting,
        "redirects inwards": answering(302, b"", Location="http://127.0.0.2:9/inside"),
        "500": answering(500, b"x" * 10_000),
        "404": answering(404),
        "410": answering(410),
        "gigabyte": endless(talking, GIGABYTE),
        "endless header": endless(shouting, HEADERS),
    }
    arrived: dict[str, int] = {}
    bad: dict[str, Receiver] = {}

    def arrived_at_bad() -> int:
        return sum(len(hook.requests) for hook in bad.values())

    async def note(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived[received.headers["webhook-id"]] = arrived_at_bad()
        await answering()(received, reader, writer)

    async with AsyncExitStack() as stack:
        bad |= {name: await stack.enter_async_context(receiver(behave)) for name, behave in behaviours.items()}
        dead = await stack.enter_async_context(receiver(hanging))
        good = await stack.enter_async_context(receiver(note))
        talking.append(bad["gigabyte"])
        shouting.append(bad["endless header"])
        client.limits = {bad["hangs"].port: SHORT_SECONDS, dead.port: LONG_SECONDS}
        await stack.enter_async_context(running(DeliverySender(outbox, client, SIGNING, timing=PATIENT)))
        await outbox.ended(await outbox.add(good.url()))
        process = psutil.Process()
        before = peak = process.memory_info().rss
        waiting = [await outbox.add(dead.url()) for _ in range(EACH)]
        ids = {name: [await outbox.add(hook.url(), max_attempts=3) for _ in range(EACH)] for name, hook in bad.items()}
        passed = []
        for _ in range(40):
            seen = arrived_at_bad()
            made = str(await outbox.add(good.url(), org_id=new_id()))
            await until(lambda made=made: made in arrived)
            passed.append(arrived[made] - seen)
            peak = max(peak, process.memory_info().rss)
        ended = {name: await outbox.ended(*made, seconds=60) for name, made in ids.items()}
        peak = max(peak, process.memory_info().rss)
        assert dead.open == dead.most_open == Slots().per_host
        assert {(await outbox.delivery(one)).status_code for one in waiting} == {"pending"}
    assert max(passed) <= FIRST, "a good receiver waited behind the bad ones"
    assert (peak - before) / 2**20 < MEMORY_MIB
    for name, rows in ended.items():
        reason, attempts = REASONS[name]
        status = "succeeded" if reason is None else "failed"
        found = {(row.status_code, row.failure_reason_code, row.attempt_count) for row in rows}
        assert found == {(status, reason, attempts)}, name
        assert all(row.failure_detail for row in rows) or reason is None
    assert all(hook.most_open <= 16 for hook in bad.values())
    assert talking[0].bytes_sent < EACH * 16 * 2**20, "no body is read to its end"
    print(f"at most {max(passed)} bad requests before a good one, memory +{(peak - before) / 2**20:.1f} MiB")
