import asyncio

import pytest

from runflow.protocol.leases import MOST_WITHOUT
from runflow.worker.concurrency import Declined, Limiter, Prefetch


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


def test_a_domain_is_declined_for_a_while_or_until_there_is_room() -> None:
    clock = [0.0]
    declined = Declined(30.0, lambda: clock[0])
    declined.add("red")
    clock[0] = 20.0
    declined.add("blue")
    assert declined.domains == ["red", "blue"]
    clock[0] = 30.0
    assert declined.domains == ["blue"]
    declined.add("blue")
    clock[0] = 59.0
    assert declined.domains == ["blue"], "from the last time on"
    declined.clear()
    assert declined.domains == []


def test_no_more_are_named_than_a_request_may_name_and_the_last_ones_first() -> None:
    declined = Declined(30.0, lambda: 0.0)
    for number in range(MOST_WITHOUT + 5):
        declined.add(str(number))
    assert declined.domains == [str(number) for number in range(5, MOST_WITHOUT + 5)]
