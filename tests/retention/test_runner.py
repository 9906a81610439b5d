import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from runflow import errors
from runflow.retention.runner import Job, RetentionRunner
from runflow.storage.local import LocalStorage
from runflow.web.services import Services


async def test_a_round_gives_every_job_its_turn(services: Services) -> None:
    removed = await RetentionRunner(services).round()
    assert set(removed) >= {"outputs", "events", "runs", "deleted assets", "idempotency keys"}


async def test_batch_after_batch_until_nothing_is_left(services: Services) -> None:
    keeper, left = RetentionRunner(services), [5, 5, 2, 0]
    keeper.jobs = (Job("things", lambda: asyncio.sleep(0, left.pop(0))),)
    assert await keeper.round() == {"things": 12}
    assert left == []


async def test_trouble_with_one_stops_none_of_the_others(services: Services) -> None:
    async def broken() -> int:
        raise errors.Unavailable("The disk is away.")

    keeper, left = RetentionRunner(services), [3, 0]
    keeper.jobs = (Job("broken", broken), Job("things", lambda: asyncio.sleep(0, left.pop(0))))
    assert await keeper.round() == {"broken": 0, "things": 3}


async def test_storage_that_fails_leaves_everything_to_be_found_again(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row says that its objects are gone before they are."""
    storage = LocalStorage(tmp_path, services.key)

    async def away(keys: Any) -> None:
        raise errors.Unavailable

    monkeypatch.setattr(storage, "delete", away)
    keeper = RetentionRunner(dataclasses.replace(services, storage=storage))
    removed = await keeper.round()
    assert removed["outputs"] == removed["deleted assets"] == 0
