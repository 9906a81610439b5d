"""A priced GPU class, a workflow that runs on it, and a worker that says what it used."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from runflow.workers.gpus import queries as gpus
from tests.support.deployed import Deployed, Dispatch, Worker

PRICE = Decimal("0.001")

Execute = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def priced(services: Services, workflow: Deployed) -> Deployed:
    """`workflow`, whose GPU costs a tenth of a cent per second."""
    async with services.db.system() as transaction:
        await gpus.put(transaction, workflow.gpu, {"price_per_second": PRICE})
    return workflow


@pytest.fixture
async def execute(priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient) -> Execute:
    """Dispatch a run, let the worker succeed with these timings, return its record."""

    async def run(**timings: Any) -> dict[str, Any]:
        made = await dispatch()
        lease = await worker.lease()
        assert lease is not None and lease["run_id"] == made["id"]
        answer = await worker.complete(lease, outputs=[await worker.upload(lease)], timings=timings)
        assert answer.status_code == 200, answer.text
        return dict((await client.get(f"/v1/runs/{made['id']}")).json())

    return run
