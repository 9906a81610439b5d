"""While receivers hang, reset, redirect inwards, fail, or never stop talking, memory and everyone else stay calm."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import psutil
import pytest

from runflow.deliveries.sender import DeliveryEngine
from runflow.ids import new_id
from runflow.outgoing import GuardedClient
from tests.deliveries.outbox import FAST, SIGNING, Outbox, running
from tests.outgoing.receivers import Behaviour, Received, Receiver, answering, endless, hanging, receiver, resetting

EACH = 25
"""Messages for each bad receiver."""
PATIENT = replace(FAST, timeout=0.5, delays=(0, 0.05, 0.1))
MEMORY_MIB = 60
"""Generous: 96 attempts at once hold a few buffers each. A body that is read to its end would need gigabytes."""
LATENCY_SECONDS = 1.0
"""Generous: a good receiver is served in milliseconds; one that waits for the bad ones needs several of these."""


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    """The guard is on: of the whole loopback network only this one address is allowed."""
    async with GuardedClient("127.0.0.1/32") as opened:
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


async def test_bad_receivers_disturb_nobody(outbox: Outbox, client: GuardedClient) -> None:
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
    arrived: dict[str, float] = {}

    async def note(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived[received.headers["webhook-id"]] = time.monotonic()
        await answering()(received, reader, writer)

    async with AsyncExitStack() as stack:
        bad = {name: await stack.enter_async_context(receiver(behave)) for name, behave in behaviours.items()}
        good = await stack.enter_async_context(receiver(note))
        talking.append(bad["gigabyte"])
        shouting.append(bad["endless header"])
        await stack.enter_async_context(running(DeliveryEngine(outbox, client, SIGNING, timing=PATIENT)))
        await outbox.ended(await outbox.add(good.url()))
        process = psutil.Process()
        before = peak = process.memory_info().rss
        ids = {name: [await outbox.add(hook.url(), max_attempts=3) for _ in range(EACH)] for name, hook in bad.items()}
        waits = []
        for _ in range(40):
            started = time.monotonic()
            made = await outbox.add(good.url(), org_id=new_id())
            async with asyncio.timeout(10):
                while str(made) not in arrived:
                    await asyncio.sleep(0.005)
            waits.append(arrived[str(made)] - started)
            peak = max(peak, process.memory_info().rss)
        ended = {name: await outbox.ended(*made, seconds=60) for name, made in ids.items()}
        peak = max(peak, process.memory_info().rss)
    assert max(waits) < LATENCY_SECONDS, f"a good receiver waited {max(waits):.2f} s"
    assert (peak - before) / 2**20 < MEMORY_MIB
    for name, rows in ended.items():
        reason, attempts = REASONS[name]
        status = "succeeded" if reason is None else "failed"
        found = {(row.status_code, row.failure_reason_code, row.attempt_count) for row in rows}
        assert found == {(status, reason, attempts)}, name
        assert all(row.failure_detail for row in rows) or reason is None
    assert all(hook.most_open <= 16 for hook in bad.values())
    assert talking[0].bytes_sent < EACH * 16 * 2**20, "no body is read to its end"
    print(f"slowest good delivery {max(waits) * 1000:.0f} ms, memory +{(peak - before) / 2**20:.1f} MiB")
