import asyncio
import os
import sys
import threading
import time

import psutil
import pytest

from plugin.autosetup.commands import run
from plugin.cancellation import Cancellation, Cancelled, unless_cancelled


async def test_the_result_and_the_failure_of_the_work_come_through() -> None:
    async def work(number: int) -> float:
        await asyncio.sleep(0)
        return 1 / number

    assert await unless_cancelled(work(2), threading.Event()) == 0.5
    with pytest.raises(ZeroDivisionError):
        await unless_cancelled(work(0), threading.Event())


async def test_work_that_waits_is_ended() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    cancelled = Cancellation()
    asyncio.get_running_loop().call_later(0.05, cancelled.set)
    with pytest.raises(Cancelled):
        await unless_cancelled(work(), cancelled)
    assert ended == [True]


def test_comfyui_can_end_while_a_program_runs() -> None:
    """Its loop stands still then, and Python waits for the threads that run programs."""

    async def begin() -> Cancellation:
        cancelled = Cancellation()
        assert not cancelled.is_set()
        return cancelled

    cancelled = asyncio.run(begin())
    with pytest.raises(Cancelled):
        run(["sleep", "250"], what="sleep", environment=os.environ, cancelled=cancelled, seconds=200)


def test_nothing_that_a_program_wrote_is_lost_where_reading_takes_long() -> None:
    """As on a machine that stands still for a while just when the program ends."""
    said = [sys.executable, "-c", "import os; print(os.getpid()); print('two')"]

    def wait_for_its_end(line: str) -> None:
        while line.isdecimal() and psutil.pid_exists(int(line)):
            time.sleep(0.01)

    got = run(
        said,
        what="it",
        environment=os.environ,
        cancelled=threading.Event(),
        seconds=60,
        on_line=wait_for_its_end,
    )
    assert got.splitlines()[1:] == ["two"]
