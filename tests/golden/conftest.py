"""A workflow with examples, the next version of it, and what the tests wait for."""

import copy
from typing import Any

import httpx
import pytest

from tests.support.deployed import PROMPT, Deployed, Worker
from tests.support.waiting import until


def next_prompt(**inputs: Any) -> dict[str, Any]:
    """A prompt that differs from the deployed one."""
    prompt = copy.deepcopy(PROMPT)
    prompt["4"]["inputs"].update({"strength": 2, **inputs})  # type: ignore[attr-defined]
    return prompt


async def keep(client: httpx.AsyncClient, workflow: str, name: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow}/examples", json={"name": name, **body})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


@pytest.fixture
async def kept(client: httpx.AsyncClient, workflow: Deployed) -> Deployed:
    """The workflow, with one example."""
    await keep(client, workflow.id, "otter", input={"prompt": "an otter"})
    return workflow


async def deploy(client: httpx.AsyncClient, workflow: str, **body: Any) -> dict[str, Any]:
    """Deploy the next version, tested first."""
    sent = {"workflow_json": next_prompt(), "golden": True, **body}
    answer = await client.patch(f"/v1/comfyui-workflows/{workflow}", json=sent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def read(client: httpx.AsyncClient, workflow: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def golden(client: httpx.AsyncClient, workflow: str, golden_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow}/golden-runs/{golden_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def ended(client: httpx.AsyncClient, workflow: str, golden_id: str) -> dict[str, Any]:
    """Wait until a golden run has ended, and return it."""

    async def look() -> dict[str, Any] | None:
        found = await golden(client, workflow, golden_id)
        return None if found["status_code"] == "running" else found

    return dict(await until(look, every=0.05))


async def finish(worker: Worker, content: bytes = b"png") -> dict[str, Any]:
    """Have the worker take a run and succeed."""
    lease = await worker.lease(wait=20)
    assert lease is not None
    answer = await worker.complete(lease, outputs=[await worker.upload(lease, content)])
    assert answer.status_code == 200, answer.text
    return lease
