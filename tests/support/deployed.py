"""A deployed workflow, and a worker that speaks the Worker API without an engine."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.accounts.keys import service as keys
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import open_client

PROMPT = {
    "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "prompt", "required": True}},
    "2": {"class_type": "RunflowInputInt", "inputs": {"input_id": "steps", "required": False, "value": 4}},
    "3": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "required": False}},
    "4": {"class_type": "Anything", "inputs": {"text": ["1", 0], "steps": ["2", 0], "image": ["3", 0]}},
    "9": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["4", 0]}},
}


@dataclass
class Worker:
    """Speaks docs/worker-api.md; the tests decide what it answers."""

    http: httpx.AsyncClient
    name: str
    gpu: str = "CPU"
    memory_gb: int = 0
    instance: UUID = field(default_factory=new_id)
    worker_id: str = ""

    @property
    def me(self) -> dict[str, Any]:
        return {"protocol_version": 1, "worker_id": self.worker_id, "instance": str(self.instance)}

    async def register(self, status: str = "ready", **more: Any) -> dict[str, Any]:
        gpu = {"code": self.gpu, "memory_gb": self.memory_gb}
        body = {"protocol_version": 1, "name": self.name, "instance": str(self.instance), "status": status, "gpu": gpu}
        body |= more
        answer = await self.http.post("/v1/worker/registrations", json=body)
        assert answer.status_code == 201, answer.text
        self.worker_id = answer.json()["worker_id"]
        return dict(answer.json())

    async def lease(self, wait: float = 0, **more: Any) -> dict[str, Any] | None:
        answer = await self.http.post("/v1/worker/leases", json={**self.me, "wait_seconds": wait, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] | None = answer.json()["lease"]
        return found

    async def heartbeat(self, lease: dict[str, Any], *events: dict[str, Any], **more: Any) -> httpx.Response:
        body = {**self.me, "events": list(events), **more}
        return await self.http.post(f"/v1/worker/leases/{lease['id']}/heartbeats", json=body)

    async def upload(self, lease: dict[str, Any], content: bytes = b"png", ordinal: int = 0) -> dict[str, Any]:
        file = {"ordinal": ordinal, "filename": "a.png", "content_type": "image/png", "size_bytes": len(content)}
        answer = await self.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**self.me, "files": [file]})
        assert answer.status_code == 200, answer.text
        upload = answer.json()["uploads"][0]
        stored = await self.http.put(upload["url"], content=content, headers=upload["headers"])
        assert stored.status_code == 200, stored.text
        return {**file, "object_key": upload["object_key"], "output_id": "picture", "node_id": "9"}

    async def complete(self, lease: dict[str, Any], result: str = "succeeded", **more: Any) -> httpx.Response:
        body = {**self.me, "result": result, **more}
        return await self.http.post(f"/v1/worker/leases/{lease['id']}/completions", json=body)

    async def fail(self, lease: dict[str, Any], code: str, *, retryable: bool = False) -> httpx.Response:
        error = {"code": code, "stage": "execute", "message": "It broke. Mend it.", "retryable": retryable}
        return await self.complete(lease, "failed", error=error)


MakeWorker = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def make_worker(services: Services) -> AsyncIterator[MakeWorker]:
    """Make a registered worker; each asks only for the GPU class `gpu`."""
    async with services.db.system() as connection:
        _, token = await keys.create_worker_token(connection, "test")
    async with open_client(services, token) as http:

        async def make(gpu: str = "CPU", name: str | None = None) -> Worker:
            worker = Worker(http, name or f"worker-{new_id().hex[-8:]}", gpu)
            await worker.register()
            return worker

        yield make


@dataclass(frozen=True)
class Deployed:
    """A workflow whose runs only workers of its own GPU class take, so that tests do not take each other's."""

    id: str
    path: str
    gpu: str


@pytest.fixture
async def workflow(client: httpx.AsyncClient) -> Deployed:
    """A deployed workflow of `client`."""
    gpu = f"GPU-{new_id().hex[-8:]}"
    body = {"name": "Portrait", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    answer = await client.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    return Deployed(answer.json()["id"], answer.json()["path"], gpu)


@pytest.fixture
async def worker(make_worker: MakeWorker, workflow: Deployed) -> Worker:
    """A worker that serves `workflow`."""
    return await make_worker(workflow.gpu)


Dispatch = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def dispatch(client: httpx.AsyncClient, workflow: Deployed) -> Dispatch:
    """Dispatch a run of `workflow` and return its record."""

    async def send(**more: Any) -> dict[str, Any]:
        body = {"input": {"prompt": "an otter"}, **more}
        answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return send
