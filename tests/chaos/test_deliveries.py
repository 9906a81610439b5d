"""kill -9 of the server between the end of runs and their deliveries: nothing lost, at most one duplicate, same id."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from runflow.embedded_postgres import EmbeddedPostgres
from tests.support.deployed import PROMPT, Worker
from tests.support.platform_fixtures import Platform, installation
from tests.support.receivers import Received, Receiver, answering, receiver

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

GPU = "H100"


@pytest.fixture
def platform() -> Iterator[Platform]:
    """An installation without an engine: the test is its worker."""
    with installation(None) as started:
        yield started


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {platform.key()}"}
    async with httpx.AsyncClient(base_url=platform.url, headers=headers, timeout=60) as client:
        yield client


def worker_token(platform: Platform) -> str:
    command = [sys.executable, "-m", "runflow", "keys", "create-worker", "--name", "chaos", "--json"]
    made = subprocess.run(command, env=platform._env, check=True, stdout=subprocess.PIPE)
    return str(json.loads(made.stdout)["token"])


class Mute:
    """A receiver that takes messages and says nothing, until it is told to answer."""

    def __init__(self) -> None:
        self.answers = False

    async def __call__(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.answers:
            await answering()(received, reader, writer)
        else:
            await reader.read(1)


async def complete_one(worker: Worker) -> str:
    """Take a run and end it; return its id once the server has said that this is committed."""
    lease = await worker.lease(wait=10)
    assert lease is not None
    output = await worker.upload(lease)
    assert (await worker.complete(lease, outputs=[output])).status_code == 200
    return str(lease["run_id"])


async def histories(api: httpx.AsyncClient, runs: list[str]) -> list[dict[str, Any]]:
    """Return the one delivery of each run once none is pending."""
    async with asyncio.timeout(120):
        while True:
            found = [(await api.get(f"/v1/runs/{run}/callback")).json() for run in runs]
            if all(one["status_code"] != "pending" for of_run in found for one in of_run):
                assert [len(of_run) for of_run in found] == [1] * len(runs)
                return [of_run[0] for of_run in found]
            await asyncio.sleep(0.2)


async def all_left(hook: Receiver) -> None:
    """Wait until the receiver has read whatever a dead server had sent, and no connection is open."""
    looks = 0
    async with asyncio.timeout(60):
        while looks < 5:  # what has come is accepted, then read, then ended: a few turns of the loop
            await asyncio.sleep(0.02)
            looks = 0 if hook.open else looks + 1


def lapse_claims(platform: Platform) -> None:
    """Let the time be over for which the dead server had claimed what it was sending: nobody waits half a minute."""
    database = EmbeddedPostgres(platform.home)
    with psycopg.connect(database.start().url("postgresql")) as connection:
        claimed = "UPDATE deliveries SET claimed_until = now() WHERE claimed_until > now()"
        assert connection.execute(claimed).rowcount >= 4
    database.stop()


def by_run(hook: Receiver) -> dict[str, list[Received]]:
    found: dict[str, list[Received]] = defaultdict(list)
    for seen in hook.requests:
        found[json.loads(seen.body)["run_id"]].append(seen)
    return found


async def test_killed_between_completion_and_delivery(platform: Platform, api: httpx.AsyncClient) -> None:
    mute = Mute()
    token = {"Authorization": f"Bearer {worker_token(platform)}"}
    async with receiver(mute) as hook, httpx.AsyncClient(base_url=platform.url, headers=token, timeout=60) as http:
        worker = Worker(http, "chaos", GPU)
        await worker.register()
        workflow = {"name": "Kill", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [GPU]}
        path = (await api.post("/v1/comfyui-workflows", json=workflow)).json()["path"]
        body = {"input": {"prompt": "an otter"}, "callback_url": hook.url()}
        for _ in range(8):
            assert (await api.post(f"/v1/comfyui-workflows/{path}/runs", json=body)).status_code == 201
        # Four are on their way when the server dies: the receiver has them, and nobody wrote that down. Of the other
        # four nobody knows how far they came: the kill follows the last completion without a pause.
        ended = [await complete_one(worker) for _ in range(4)]
        async with asyncio.timeout(60):
            while len(hook.requests) < 4:
                await asyncio.sleep(0.02)
        ended += [await complete_one(worker) for _ in range(4)]
        platform.kill()
        await all_left(hook)
        before = len(hook.requests)
        mute.answers = True
        await asyncio.to_thread(lapse_claims, platform)
        await asyncio.to_thread(platform.start)
        delivered = await histories(api, ended)
    assert [one["status_code"] for one in delivered] == ["succeeded"] * 8
    seen = by_run(hook)
    assert set(seen) == set(ended), "nothing is lost"
    assert before >= 4 and len(hook.requests) - before == 8, "after the restart each is sent once"
    for one in delivered:
        copies = seen[one["run_id"]]
        assert len(copies) <= 2, "at most one duplicate"
        assert {copy.headers["webhook-id"] for copy in copies} == {one["id"]}
        assert {copy.body for copy in copies} == {one["payload_bytes"].encode()}
