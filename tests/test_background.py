"""What runs beside the requests: it is started again, and missed when it stands still."""

import asyncio

import pytest

from runflow.background import Background
from tests.support.waiting import until


@pytest.mark.parametrize("failure", [OSError("no space left on device"), asyncio.CancelledError()], ids=repr)
async def test_a_task_that_fails_is_started_again(failure: BaseException) -> None:
    background = Background(restart_seconds=0)
    starts: list[int] = []

    async def run() -> None:
        starts.append(len(starts))
        if len(starts) < 3:
            raise failure
        await asyncio.Event().wait()

    background.start("sweeper", run)
    await until(lambda: len(starts) == 3)
    await background.stop()
    assert len(starts) == 3


async def test_a_task_that_only_fails_stands_still() -> None:
    background = Background()
    beat = background.watch("sweeper", 30)
    background.awake += 29
    assert not background.standing_still
    background.awake += 2
    assert background.watch("sweeper", 30) is beat
    assert background.standing_still == ["sweeper"]
    beat()
    assert not background.standing_still
