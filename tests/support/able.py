"""Scripted workers that tell what their engine has, and are gone after the test: others deploy beside them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson
import pytest

from runflow.protocol.abilities import ModelFile, NodePack, list_hash
from runflow.web.services import Services
from tests.support.deployed import PROMPT, Deployed, MakeWorker, Worker

CLASSES = frozenset(str(node["class_type"]) for node in PROMPT.values())
"""Those that the tests' workflow needs."""
SHA256 = "ab" * 32


def told(
    node_types: Iterable[str] = CLASSES,
    models: Iterable[ModelFile] = (),
    packs: Iterable[NodePack] = (),
    **more: Any,
) -> dict[str, Any]:
    """What a worker registers of such an engine: its abilities, and the lists right away."""
    lists: Mapping[str, list[Any]] = {
        "node_types": sorted(node_types),
        "node_packs": list(packs),
        "models": list(models),
    }
    abilities = {name: list_hash(items) for name, items in lists.items()}
    whole = {"abilities": {**abilities, "comfyui_version": "0.30.0", **more}, "lists": lists}
    found: dict[str, Any] = orjson.loads(orjson.dumps(whole))
    return found


MakeAble = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def able(services: Services, make_worker: MakeWorker, workflow: Deployed) -> AsyncIterator[MakeAble]:
    """Make a worker of the workflow's GPU class whose engine has these classes, models and packs."""
    made: list[Worker] = []

    async def make(
        node_types: Iterable[str] = CLASSES,
        models: Iterable[ModelFile] = (),
        packs: Iterable[NodePack] = (),
        *,
        gpu: str | None = None,
        registers: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Worker:
        worker = await make_worker(gpu or workflow.gpu)
        made.append(worker)
        await worker.register(**told(node_types, models, packs, **more), **(registers or {}))
        return worker

    yield make
    async with services.db.system() as transaction:
        values = {"names": [worker.name for worker in made]}
        await transaction.run(
            "UPDATE workers SET last_seen_at = now() - interval '1 hour' WHERE name = ANY(%(names)s)", values
        )
