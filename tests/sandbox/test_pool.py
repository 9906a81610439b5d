"""Confined processes are kept while all is well, replaced when it is not, and ended when nobody needs them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from runflow.sandbox.pool import ProcessPool
from runflow.sandbox.process import ProcessFailed, ProcessSlow
from tests.sandbox.conftest import READY, ask
from tests.support.waiting import until


@pytest.fixture
async def pool(module: str) -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(module)
    yield pool
    await pool.close()


async def pid_of(pool: ProcessPool) -> int:
    async with pool.process() as process:
        assert process.greeting == READY
        return int(await ask(process, "pid"))


async def test_nothing_is_started_before_there_is_work_and_one_process_does_much(pool: ProcessPool) -> None:
    assert pool.running == 0
    assert len({await pid_of(pool) for _ in range(3)}) == 1
    assert pool.running == 1


async def test_whoever_comes_meanwhile_gets_another_process(pool: ProcessPool) -> None:
    async with pool.process() as first, pool.process() as second:
        pids = {await ask(first, "pid"), await ask(second, "pid")}
    assert len(pids) == pool.running == 2
    assert str(await pid_of(pool)) in pids


@pytest.mark.parametrize("message", ["exit 1", "signal 9", "hang", "announce 999999999"])
async def test_a_process_that_failed_is_replaced(pool: ProcessPool, message: str) -> None:
    before = await pid_of(pool)
    with pytest.raises(ProcessFailed):
        async with pool.process() as process:
            await ask(process, message, 0.2 if message == "hang" else 60)
    assert pool.running == 0 and not psutil.pid_exists(before)
    assert await pid_of(pool) != before


async def test_a_process_that_died_while_idle_is_replaced(pool: ProcessPool) -> None:
    async with pool.process() as process:
        before = int(await ask(process, "pid"))
    os.kill(before, signal.SIGKILL)
    await until(lambda: not process.is_running)
    assert await pid_of(pool) != before
    assert pool.running == 1


async def test_a_process_that_owes_an_answer_is_not_kept(pool: ProcessPool) -> None:
    with pytest.raises(KeyError):
        async with pool.process() as process:
            await process.send(b"echo nobody's", seconds=60)
            raise KeyError
    assert pool.running == 0
    asked = asyncio.Event()

    async def leave() -> None:
        async with pool.process() as process:
            await process.send(b"hang", seconds=60)
            asked.set()
            await process.receive(seconds=60)

    leaving = asyncio.create_task(leave())
    await asked.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled() and pool.running == 0
    assert await pid_of(pool)


async def test_a_process_that_does_not_get_ready_is_ended(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START", "sys.exit(5)")
    pool = ProcessPool(module)
    with pytest.raises(ProcessFailed, match="exit code 5"):
        await pid_of(pool)
    monkeypatch.setenv("START", "time.sleep(600)")
    with pytest.raises(ProcessSlow):
        await pid_of(ProcessPool(module, start_seconds=0.2))
    starting = asyncio.create_task(pid_of(pool))
    await until(lambda: pool.running)
    starting.cancel()
    await asyncio.wait([starting])
    assert pool.running == 0
    monkeypatch.delenv("START")
    assert await pid_of(pool)
    await pool.close()


async def test_idle_processes_end_and_are_started_again(module: str) -> None:
    pool = ProcessPool(module, idle_seconds=0.05)
    async with pool.process() as first, pool.process() as second:
        before = {int(await ask(first, "pid")), int(await ask(second, "pid"))}
    await until(lambda: not pool.running)
    await until(lambda: not any(psutil.pid_exists(pid) for pid in before))
    assert await pid_of(pool) not in before
    await pool.close()


async def test_processes_at_work_and_idle_ones_end_with_the_pool(pool: ProcessPool) -> None:
    async with pool.process() as idle:
        await ask(idle, "echo")
    asked = asyncio.Event()

    async def work() -> None:
        async with pool.process() as process, pool.process():
            await process.send(b"hang", seconds=60)
            asked.set()
            await process.receive(seconds=60)

    working = asyncio.create_task(work())
    await asked.wait()
    await pool.close()
    assert pool.running == 0 and not idle.is_running
    with pytest.raises(ProcessFailed, match="signal 9"):
        await working
