import asyncio

import pytest

from runflow.worker.concurrency import Limiter, Prefetch


def test_short_runs_are_held_two_deep_and_long_ones_are_not() -> None:
    prefetch = Prefetch()
    assert (prefetch.in_engine, prefetch.ahead) == (1, 2)
    prefetch.executed(0.004)
    assert (prefetch.in_engine, prefetch.ahead) == (2, 3)
    for _ in range(5):
        prefetch.executed(60)
    assert (prefetch.in_engine, prefetch.ahead) == (1, 2)


async def test_the_gate_lets_in_in_order_and_never_more_than_its_limit() -> None:
    limiter = Limiter(lambda: 2)
    order: list[int] = []
    most = 0

    async def visitor(number: int) -> None:
        nonlocal most
        await limiter.enter()
        order.append(number)
        most = max(most, limiter.inside)
        await asyncio.sleep(0)
        limiter.leave()

    await asyncio.gather(*(visitor(number) for number in range(10)))
    assert order == list(range(10))
    assert most == 2
    assert limiter.inside == 0


async def test_a_visitor_who_gives_up_leaves_no_place_taken() -> None:
    limiter = Limiter(lambda: 1)
    await limiter.enter()
    waiting = asyncio.create_task(limiter.enter())
    late = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    limiter.leave()
    await late
    assert limiter.inside == 1
    limiter.leave()
    assert limiter.has_room


async def test_a_visitor_cancelled_at_the_moment_of_entering_leaves_again() -> None:
    limiter = Limiter(lambda: 1)
    await limiter.enter()
    entering = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    limiter.leave()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert limiter.inside == 0


async def test_a_risen_limit_lets_in_after_a_recheck() -> None:
    limit = 1
    limiter = Limiter(lambda: limit)
    await limiter.enter()
    waiting = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    limit = 2
    limiter.recheck()
    await waiting
    assert limiter.inside == 2


async def test_two_groups_are_never_inside_at_once_and_the_first_to_wait_goes_first() -> None:
    limiter = Limiter(lambda: 2)
    await limiter.enter("red")
    blue, red = asyncio.create_task(limiter.enter("blue")), asyncio.create_task(limiter.enter("red"))
    await asyncio.sleep(0)
    assert limiter.inside == 1, "another red one is behind the blue one"
    limiter.leave("red")
    await blue
    assert not red.done()
    limiter.leave("blue")
    await red
    assert limiter.inside == 1


async def test_who_may_not_enter_yet_lets_others_pass() -> None:
    limiter = Limiter(lambda: 1)
    is_clear = False
    blue = asyncio.create_task(limiter.enter("blue", lambda: is_clear))
    await asyncio.sleep(0)
    await limiter.enter("red")
    is_clear = True
    limiter.recheck()
    assert not blue.done()
    limiter.leave("red")
    await blue
    limiter.leave("blue")
    assert limiter.inside == 0


async def test_a_visitor_of_another_group_who_gives_up_lets_the_next_one_in() -> None:
    limiter = Limiter(lambda: 2)
    await limiter.enter("red")
    blue, red = asyncio.create_task(limiter.enter("blue")), asyncio.create_task(limiter.enter("red"))
    await asyncio.sleep(0)
    blue.cancel()
    await red
    assert limiter.inside == 2
