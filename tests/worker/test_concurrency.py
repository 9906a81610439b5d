import asyncio

import pytest

from runflow.worker.concurrency import Limiter, Prefetch


def test_short_runs_are_held_two_deep_and_long_ones_are_not() -> None:
    pace = Prefetch()
    assert (pace.in_engine, pace.ahead) == (1, 2)
    pace.executed(0.004)
    assert (pace.in_engine, pace.ahead) == (2, 3)
    for _ in range(5):
        pace.executed(60)
    assert (pace.in_engine, pace.ahead) == (1, 2)


async def test_the_gate_lets_in_in_order_and_never_more_than_its_limit() -> None:
    gate = Limiter(lambda: 2)
    order: list[int] = []
    most = 0

    async def visitor(number: int) -> None:
        nonlocal most
        await gate.enter()
        order.append(number)
        most = max(most, gate.inside)
        await asyncio.sleep(0)
        gate.leave()

    await asyncio.gather(*(visitor(number) for number in range(10)))
    assert order == list(range(10))
    assert most == 2
    assert gate.inside == 0


async def test_a_visitor_who_gives_up_leaves_no_place_taken() -> None:
    gate = Limiter(lambda: 1)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    late = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.leave()
    await late
    assert gate.inside == 1
    gate.leave()
    assert gate.has_room


async def test_a_visitor_cancelled_at_the_moment_of_entering_leaves_again() -> None:
    gate = Limiter(lambda: 1)
    await gate.enter()
    entering = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.leave()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert gate.inside == 0


async def test_a_risen_limit_lets_in_after_a_recheck() -> None:
    limit = 1
    gate = Limiter(lambda: limit)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    limit = 2
    gate.recheck()
    await waiting
    assert gate.inside == 2
