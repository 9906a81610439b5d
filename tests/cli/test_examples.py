"""`runflow examples` and `runflow deploy --golden` against the application, and a worker that the test speaks for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.cli.conftest import Command, Said
from tests.support.deployed import PROMPT, Deployed, Worker

Run = Callable[..., Awaitable[Said]]


@pytest.fixture
def run(cli: Command, client: httpx.AsyncClient) -> Run:
    """Run `runflow …` with the key of the workflow's organization."""
    key = client.headers["Authorization"].removeprefix("Bearer ")

    async def call(*arguments: str) -> Said:
        return await cli(*arguments, RUNFLOW_API_KEY=key)

    return call


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The next version of the workflow, as a file."""
    file = tmp_path / "next.json"
    prompt = json.loads(json.dumps(PROMPT))
    prompt["4"]["inputs"]["strength"] = 2
    file.write_text(json.dumps(prompt))
    return file


async def test_examples_are_kept_listed_and_deleted(
    run: Run, client: httpx.AsyncClient, workflow: Deployed, tmp_path: Path
) -> None:
    assert "keeps no examples" in (await run("examples", "list", workflow.path)).words
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    kept = await run(
        "examples", "keep", workflow.path, "otter", "-i", "prompt=an otter", "-i", f"photo=@{photo}", "--json"
    )
    assert kept.code == 0, kept.err
    assert json.loads(kept.out)["input"]["photo"].startswith("runflow://assets/")
    dispatched = await client.post(
        f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "two otters"}}
    )
    of_run = await run("examples", "keep", workflow.id, "second", "--run", dispatched.json()["id"], "--evaluate")
    assert of_run.code == 0 and "deploy --golden" in of_run.words
    listed = json.loads((await run("examples", "list", workflow.path, "--json")).out)
    assert [(one["name"], one["evaluate"], one["input"]["prompt"]) for one in listed] == [
        ("otter", False, "an otter"),
        ("second", True, "two otters"),
    ]
    both = await run("examples", "keep", workflow.id, "x", "-i", "prompt=a", "--run", dispatched.json()["id"])
    assert both.code == 2 and "one of them" in both.words
    assert (await run("examples", "delete", workflow.path, "otter")).code == 0
    (head, row) = (await run("examples", "list", workflow.path)).out.splitlines()
    assert head.split()[0] == "name" and row.split()[0] == "second"


async def ended(run: Run, worker: Worker, *arguments: str, **end: Any) -> Said:
    """Deploy with a test, and end its run as a worker."""
    said = asyncio.ensure_future(run("deploy", *arguments, "--golden"))
    lease = await worker.lease(wait=20)
    assert lease is not None
    if end:
        await worker.complete(lease, "failed", **end)
    else:
        await worker.complete(lease, outputs=[])
    return await said


async def test_a_deployment_is_followed_until_it_serves_or_not(
    run: Run, client: httpx.AsyncClient, worker: Worker, workflow: Deployed, changed: Path
) -> None:
    slug = workflow.path.partition("/")[2]
    without = await run("deploy", str(changed), "--slug", slug, "--golden")
    assert without.code == 2 and "keeps no examples" in without.words
    await run("examples", "keep", workflow.path, "otter", "-i", "prompt=an otter")
    late = await run("deploy", str(changed), "--slug", slug, "--golden", "--timeout", "0")
    assert late.code == 124 and "goes on" in late.words
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it.", "retryable": False}
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.complete(lease, "failed", error=error)
    changed.write_text(changed.read_text().replace('"strength": 2', '"strength": 3'))
    failed = await ended(run, worker, str(changed), "--slug", slug, error=error)
    assert failed.code == 1 and "It broke. Mend it." in failed.words
    assert "Version 3 does not serve, version 1 goes on: the test failed." in failed.words
    changed.write_text(changed.read_text().replace('"strength": 3', '"strength": 4'))
    passed = await ended(run, worker, str(changed), "--slug", slug)
    assert (passed.code, passed.out.strip()) == (0, workflow.path), passed.err
    assert "otter: succeeded" in passed.words and f"{workflow.path}, version 4" in passed.words
