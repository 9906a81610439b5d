"""`runflow prebuild` against the application, and a worker that the test speaks for."""

import asyncio
import json
from typing import Any

import httpx

from tests.cli.conftest import Command, Said
from tests.support.able import MakeAble
from tests.support.deployed import Deployed, Worker

ERROR = {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": "It broke. Mend it."}


async def follow(cli: Command, client: httpx.AsyncClient, worker: Worker, *arguments: str, **end: Any) -> Said:
    """Run the command, and end what it asks for as a worker."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    said = asyncio.ensure_future(cli("prebuild", *arguments, RUNFLOW_API_KEY=key))
    held = None
    while held is None:
        answer = await worker.http.post("/v1/worker/prebuilds", json={**worker.me, "wait_seconds": 20})
        held = answer.json()["prebuild"]
    await worker.http.post(f"/v1/worker/prebuilds/{held['id']}/reports", json={**worker.me, **end})
    return await said


async def test_it_is_followed_until_it_is_ready_or_has_failed(
    cli: Command, client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    worker = await able()
    ready = await follow(cli, client, worker, workflow.path, "--json", result="ready")
    assert (ready.code, json.loads(ready.out)["state_code"]) == (0, "ready"), ready.err
    assert ready.words.endswith(f"{workflow.path}, version 1: ready on the worker {worker.name}.")
    failed = await follow(cli, client, worker, workflow.path, result="failed", error=ERROR)
    assert failed.code == 1 and failed.words.endswith("It failed: It broke. Mend it.")


async def test_it_goes_on_when_nobody_follows_it(cli: Command, client: httpx.AsyncClient, workflow: Deployed) -> None:
    key = client.headers["Authorization"].removeprefix("Bearer ")
    asked = await cli("prebuild", workflow.id, "--no-wait", RUNFLOW_API_KEY=key)
    assert asked.code == 0 and asked.words.startswith("Asked for")
    late = await cli("prebuild", workflow.path, "--timeout", "0", RUNFLOW_API_KEY=key)
    assert late.code == 124 and late.words.endswith("It has not ended yet, and goes on.")
