"""The receivers of the other tests: what they leave open would be found, and blamed on, any later test."""

import asyncio
import contextlib
import socket

import pytest

from tests.support.receivers import hanging, receiver


@pytest.mark.parametrize("turns", range(8))
async def test_whoever_comes_while_it_closes_is_sent_away(turns: int) -> None:
    async with receiver(hanging) as hook:
        caller = socket.create_connection(("127.0.0.1", hook.port))
        # Each turn of the loop takes the connection one step further: queued, accepted, its task made, its task begun.
        for _ in range(turns):
            await asyncio.sleep(0)
    with caller:
        caller.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 1), 60) == b""
