"""What a process remembers of versions and workers: once what never changes, within bounds."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile
from runflow.web.services import Services
from runflow.workers import queries as worker_queries
from runflow.workers.abilities import EngineAbilities, ModelIndex
from runflow.workflows import queries
from runflow.workflows.runtime import known as module
from runflow.workflows.runtime import queries as runtime_queries
from runflow.workflows.runtime import requirements, satisfies
from runflow.workflows.runtime.known import Known
from runflow.workflows.runtime.requirements import NeededModel, Requirements, RequirementsMemory
from runflow.workflows.runtime.service import fits
from tests.support.able import CLASSES, SHA256, MakeAble
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker


async def test_a_version_and_an_engine_are_compared_once(
    client: httpx.AsyncClient,
    able: MakeAble,
    workflow: Deployed,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: Counter[tuple[str, ...]] = Counter()

    def spied(version: Requirements, engine: EngineAbilities | None) -> list[satisfies.Difference]:
        if engine is not None and engine.node_types is not None and "Spied" in engine.node_types:
            compared[version.node_types] += 1
        return satisfies.satisfies(version, engine)

    monkeypatch.setattr(module, "satisfies", spied)
    boxes = [await able({*CLASSES, "Spied", workflow.gpu} - {"Anything"}) for _ in range(2)]
    run = await dispatch()
    for _ in range(3):
        assert await boxes[0].lease() is None
        read = (await client.get(f"/v1/comfyui-workflows/{workflow.id}/runtime")).json()
        assert {one["name"] for one in read["workers"] if not one["can_run"]} >= {box.name for box in boxes}
        assert "Anything" in (await client.get(f"/v1/runs/{run['id']}")).json()["waiting_reason"]
        body = {"worker_labels": {"rack": "1"}}
        assert "Anything" in str((await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json=body)).json())
        await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"worker_labels": {}})
    assert compared == {tuple(sorted(CLASSES)): 1}


async def test_what_is_remembered_heeds_what_was_uploaded_since(
    services: Services, able: MakeAble, monkeypatch: pytest.MonkeyPatch
) -> None:
    await able(places_models=True)
    known, org = services.part(Known), new_id()
    version = Requirements(org, models=(NeededModel("loras/mine.safetensors", SHA256),))
    engine = EngineAbilities(new_id().hex, models=ModelIndex([ModelFile(path="vae/a.pt")]), places_models=True)
    machines = [module.Machine(one.worker, engine, None) for one in (await known.machines(now=True))[:1]]
    version_id = new_id()

    async def can() -> bool:
        (found,) = await fits(services, machines, version_id, version, labels=None, org_id=org, gpu_class="auto")
        return found.is_able

    assert not await can()
    monkeypatch.setattr(known, "has_uploaded", lambda whose, sha256: (whose, sha256) == (org, SHA256))
    assert await can()


async def test_documents_are_read_and_requirements_kept_within_a_bound_in_bytes(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for number in range(4):
        more = {str(100 + one): {"class_type": f"Class{number}X{one}", "inputs": {}} for one in range(300)}
        body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT | more}
        answer = await client.post("/v1/comfyui-workflows", json=body)
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
    statement = "SELECT id FROM workflow_versions WHERE workflow_id = ANY(CAST(%(ids)s AS uuid[]))"
    reads: list[int] = []
    reading = queries.needs

    async def spied(transaction: Any, wanted: Any, *, most_stored: int) -> Any:
        found = await reading(transaction, wanted, most_stored=most_stored)
        reads.append(len(found))
        return found

    monkeypatch.setattr(queries, "needs", spied)
    monkeypatch.setattr(requirements, "MOST_STORED_BYTES", 100)
    memory = RequirementsMemory(max_bytes=70_000)
    async with services.db.system() as transaction:
        versions = await transaction.values(statement, {"ids": ids}, of=type(new_id()))
        found = await memory.read(transaction, versions)
        assert reads == [1, 1, 1, 1], "what one version needs is let go before the next is read"
        assert all(len(one.node_types) >= 300 for one in found.values()) and set(found) == set(versions)
        monkeypatch.undo()
        again = await RequirementsMemory().read(transaction, versions)
    assert again == found
    held = [one for one in versions if memory.held(one) is not None]
    assert 1 <= len(held) < 4 and 0 < memory._held.size_bytes <= 70_000


async def test_workers_that_take_long_to_read_are_read_less_often(
    services: Services, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBER_SECONDS", -1.0)
    monkeypatch.setattr(module, "MOST_REMEMBERED_SECONDS", 3600.0)
    known, reads, connected = Known(services), Counter[str](), worker_queries.connected

    async def spied(transaction: Any, seconds: float) -> Any:
        reads["machines"] += 1
        return await connected(transaction, seconds)

    monkeypatch.setattr(worker_queries, "connected", spied)
    monkeypatch.setattr(module, "READING_SHARE", 1e-9)
    for _ in range(3):
        assert worker.name in {one.worker.name for one in await known.machines()}
    assert reads["machines"] == 1
    await known.machines(now=True)
    assert reads["machines"] == 2


async def test_many_who_ask_at_once_are_answered_by_one_reading(
    services: Services, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, reads = Known(services), Counter[str]()
    installation, connected = runtime_queries.installation, worker_queries.connected

    async def spied_installation(transaction: Any) -> Any:
        reads["installation"] += 1
        if reads["installation"] == 3:
            services.hub.publish(module.TOPIC)  # while it is read
        return await installation(transaction)

    async def spied_connected(transaction: Any, seconds: float) -> Any:
        reads["machines"] += 1
        return await connected(transaction, seconds)

    monkeypatch.setattr(runtime_queries, "installation", spied_installation)
    monkeypatch.setattr(worker_queries, "connected", spied_connected)
    monkeypatch.setattr(module, "REMEMBER_SECONDS", 3600.0)
    for _ in range(2):
        found = await asyncio.gather(*(known.machines() for _ in range(50)))
        assert all(worker.name in {one.worker.name for one in machines} for machines in found)
        await asyncio.gather(*(known.read_installation() for _ in range(50)))
    assert reads == {"installation": 1, "machines": 1}
    services.hub.publish(module.TOPIC)
    await asyncio.gather(*(known.read_installation() for _ in range(50)))
    await asyncio.gather(*(known.machines(now=True) for _ in range(50)))
    assert reads["installation"] == 2
    assert 2 <= reads["machines"] <= 3, "one that began before some had asked, and one for those"
    services.hub.publish(module.TOPIC)
    for _ in range(2):
        await known.read_installation()
    assert reads["installation"] == 4, "what changed while it was read is read again"
