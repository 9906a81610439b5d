"""Batches are dispatched on the deployed workflow of the runs' tests, and served by their worker double."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.deployed import Deployed, Worker

Batch = dict[str, Any]
MakeBatch = Callable[..., Awaitable[Batch]]


@pytest.fixture
async def make_batch(client: httpx.AsyncClient, workflow: Deployed) -> MakeBatch:
    """Dispatch a batch of so many items and return its record."""

    async def send(items: int = 3, **more: Any) -> Batch:
        body = {"input": [{"prompt": f"picture {index}"} for index in range(items)], **more}
        answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return send


async def finish(worker: Worker, *results: str) -> list[str]:
    """Serve one item per result (`succeeded`, `failed`); return their runs."""
    served = []
    for result in results:
        lease = await worker.lease()
        assert lease is not None
        if result == "succeeded":
            answer = await worker.complete(lease, outputs=[await worker.upload(lease)])
        else:
            answer = await worker.fail(lease, "EXECUTION_FAILED")
        assert answer.status_code == 200, answer.text
        served.append(lease["run_id"])
    return served
