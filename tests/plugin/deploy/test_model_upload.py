"""Models from this machine to a real server process: broken off, resumed, and only what it lacks."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from plugin.deploy.model_upload import LocalModel, offers, send_model
from plugin.deploy.platform import DeployFailed, Platform
from plugin.deploy.target import Target
from tests.support.platform_fixtures import Platform as Installation
from tests.support.platform_fixtures import installation

pytestmark = pytest.mark.e2e
CHUNK = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[Installation]:
    """A server that takes models of up to 100 MB, without any ComfyUI."""
    taking = {"RUNFLOW_ACCEPT_MODELS": "true", "RUNFLOW_MAX_MODEL_BYTES": "100000000"}
    with installation(None, environment=taking) as started:
        yield started


@pytest.fixture(scope="module")
def key(server: Installation) -> str:
    return server.key()


def model(folder: Path, size: int) -> LocalModel:
    content = os.urandom(size)
    place = folder / "mine.safetensors"
    place.write_bytes(content)
    return LocalModel("checkpoints/mine.safetensors", place, size, hashlib.sha256(content).hexdigest())


def opened(server: Installation, key: str) -> Platform:
    return Platform(Target(server.url, server.url, key))


def listed(server: Installation, key: str) -> set[str]:
    answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    return {row["sha256"] for row in answer.json()["items"]}


async def test_only_what_the_server_lacks_is_sent(server: Installation, key: str, tmp_path: Path) -> None:
    mine, told = model(tmp_path, 2 * CHUNK + 12_345), list[tuple[int, int]]()
    async with opened(server, key) as platform:
        (offer,) = await offers(platform, [mine])
        assert offer.describe() == {"path": mine.path, "size_bytes": mine.size_bytes, "received_bytes": 0}
        await send_model(platform, mine, lambda done, total: told.append((done, total)))
        assert await offers(platform, [mine]) == []
        again = list[tuple[int, int]]()
        await send_model(platform, mine, lambda done, total: again.append((done, total)))
    assert told == sorted(told)
    assert len(told) > 100
    assert told[-1] == (mine.size_bytes, mine.size_bytes)
    assert again == [(mine.size_bytes, mine.size_bytes)]
    assert mine.sha256 in listed(server, key)


async def test_a_cancelled_upload_goes_on_the_next_time(server: Installation, key: str, tmp_path: Path) -> None:
    mine, in_second = model(tmp_path, 3 * CHUNK), asyncio.Event()

    def progress(done: int, _total: int) -> None:
        if done > CHUNK + CHUNK // 4:
            in_second.set()

    async with opened(server, key) as platform:
        sending = asyncio.create_task(send_model(platform, mine, progress))
        await in_second.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    told = list[int]()
    async with opened(server, key) as platform:
        (offer,) = await offers(platform, [mine])
        assert offer.received_bytes in (CHUNK, 2 * CHUNK)
        await send_model(platform, mine, lambda done, _total: told.append(done))
    assert told[0] >= offer.received_bytes
    assert mine.sha256 in listed(server, key)


async def test_a_server_that_is_killed_meanwhile_is_waited_for(server: Installation, key: str, tmp_path: Path) -> None:
    mine, begun = model(tmp_path, 3 * CHUNK), asyncio.Event()

    def progress(done: int, _total: int) -> None:
        if done > CHUNK:
            begun.set()

    async with opened(server, key) as platform:
        sending = asyncio.create_task(send_model(platform, mine, progress))
        await begun.wait()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(120):
            await sending
    assert mine.sha256 in listed(server, key)


async def test_a_file_that_changed_is_refused_and_said_so(server: Installation, key: str, tmp_path: Path) -> None:
    mine = model(tmp_path, 1000)
    mine.place.write_bytes(os.urandom(1000))
    async with opened(server, key) as platform:
        with pytest.raises(DeployFailed, match=f"upload of {mine.path} failed — VALIDATION_ERROR.*SHA-256"):
            await send_model(platform, mine, lambda _done, _total: None)
    assert mine.sha256 not in listed(server, key)


async def test_what_is_too_large_is_not_offered(server: Installation, key: str, tmp_path: Path) -> None:
    huge = LocalModel("checkpoints/huge.safetensors", tmp_path / "huge", 200_000_000, "0" * 64)
    async with opened(server, key) as platform:
        assert await offers(platform, [huge]) == []
        with pytest.raises(DeployFailed, match="100000000"):
            await send_model(platform, huge, lambda _done, _total: None)
