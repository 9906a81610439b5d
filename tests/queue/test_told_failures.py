"""Who runs another organization's public workflow is told nothing of its packs, its models, or of workers' names."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile
from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from tests.support.able import CLASSES, MakeAble, told
from tests.support.deployed import PROMPT, Deployed, Worker
from tests.support.waiting import until

PACK, MODEL, COMMIT = "Secret-Pack", "checkpoints/secret-model.safetensors", "1" * 40
ORIGIN = "https://example.com/secret-origin"
SECRETS = ("secret", COMMIT[:10])


@pytest.fixture
async def shared(client: httpx.AsyncClient) -> Deployed:
    """A public workflow of `client`'s organization, with a pack and a model of its own."""
    gpu = f"GPU-{new_id().hex[-8:]}"
    packs = {PACK: {"origin": ORIGIN, "commit": COMMIT, "classes": ["Anything"]}}
    body = {"name": "P", "workflow_json": PROMPT, "custom_nodes": packs, "models": {MODEL: {}}, "is_public": True}
    answer = await client.post(
        "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    )
    assert answer.status_code == 201, answer.text
    return Deployed(answer.json()["id"], answer.json()["path"], gpu)


async def send(caller: httpx.AsyncClient, workflow: Deployed) -> dict[str, Any]:
    answer = await caller.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def all_that_is_told(caller: httpx.AsyncClient, workflow: Deployed, run: dict[str, Any]) -> str:
    """Everything that a caller can read of a run and of its workflow, as one text."""
    paths = [
        f"/v1/runs/{run['id']}?embed=attempts,logs,node_runs,comfyui_workflow,model",
        f"/v1/runs?q=comfyui_workflow_id:{workflow.id}",
        *(f"/v1/runs/{run['id']}/{name}" for name in ("attempts", "logs", "node-runs", "callback", "evaluations")),
        f"/v1/comfyui-workflows/{workflow.id}",
        f"/v1/comfyui-workflows/{workflow.path}",
        f"/v1/comfyui-workflows/{workflow.id}/runtime",
        f"/v1/comfyui-workflows/{workflow.id}/versions",
        f"/v1/comfyui-workflows/{workflow.path}/openapi.json",
        f"/v1/comfyui-workflows/{workflow.path}/llms.txt",
    ]
    texts = []
    for path in paths:
        answer = await caller.get(path)
        assert answer.status_code in (200, 404), (path, answer.text)
        texts.append(f"{path}\n{answer.text}")
    if (await caller.get(f"/v1/runs/{run['id']}")).json()["is_terminal"]:  # else the stream would not end
        texts.append((await caller.get(f"/v1/runs/{run['id']}/events")).text)
    return "\n".join(texts)


def leaks(text: str, *workers: Worker) -> list[str]:
    names = [*SECRETS, *(worker.name for worker in workers)]
    return [line for line in text.splitlines() if any(name.lower() in line.lower() for name in names)]


async def waits_because(caller: httpx.AsyncClient, run: dict[str, Any], *words: str) -> None:
    async def says_so() -> bool:
        reason = str((await caller.get(f"/v1/runs/{run['id']}")).json()["waiting_reason"])
        return all(word in reason for word in words)

    await until(says_so)


async def test_why_a_run_waits_is_told_whole_to_the_owner_alone(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, able: MakeAble, shared: Deployed
) -> None:
    box = await able(CLASSES - {"Anything"}, gpu=shared.gpu)
    own, foreign = await send(client, shared), await send(other_client, shared)
    assert await box.lease() is None
    await waits_because(client, own, PACK, MODEL, box.name, COMMIT[:10])
    await waits_because(other_client, foreign, "Ask its owner")
    assert leaks(await all_that_is_told(other_client, shared, foreign), box) == []
    assert leaks(await all_that_is_told(client, shared, own), box) != [], "these words are found where they stand"
    await box.register("engine_down", **told(models=[ModelFile(path=MODEL)]), status_detail=f"{PACK} fails.")
    await waits_because(client, own, box.name, PACK)
    await waits_because(other_client, foreign, "Ask the operator")
    assert leaks(await all_that_is_told(other_client, shared, foreign), box) == []


LACKING = {
    "code": "MODEL_MISSING",
    "stage": "prepare",
    "message": f'The model "{MODEL}" of the workflow could not be placed on the worker.',
    "details": {"model": MODEL},
}
FAILURES: dict[str, dict[str, Any]] = {
    "a model": LACKING,
    "a class": {**LACKING, "code": "NODE_TYPE_MISSING", "node_id": "4", "node_type": "SecretClass", "details": None},
    "an engine's last words": {
        "code": "ENGINE_CRASHED",
        "stage": "execute",
        "message": f"The engine ended: {PACK}",
        "details": {"last_words": [f"loading {MODEL}"]},
    },
    "a build": {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": f"{PACK} could not be installed."},
}


@pytest.mark.parametrize("name", FAILURES)
async def test_why_a_run_failed_is_told_whole_to_the_owner_alone(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, able: MakeAble, shared: Deployed, name: str
) -> None:
    box = await able(models=[ModelFile(path=MODEL)], gpu=shared.gpu)
    for caller, is_owner in ((client, True), (other_client, False)):
        run = await send(caller, shared)
        lease = await box.lease(20)
        assert lease is not None and lease["run_id"] == run["id"]
        answer = await box.complete(lease, "failed", error=FAILURES[name])
        assert answer.json()["status_code"] == "failed", answer.text
        read = (await caller.get(f"/v1/runs/{run['id']}")).json()
        assert read["failure_code"] == FAILURES[name]["code"]
        found = leaks(await all_that_is_told(caller, shared, run), box)
        if is_owner:
            assert found != []
        else:
            assert found == [] and read["failure_message"].count(".") >= 2, "what happened, and what to do"


async def test_a_value_of_the_caller_s_own_is_named(
    other_client: httpx.AsyncClient, able: MakeAble, shared: Deployed
) -> None:
    box = await able(models=[ModelFile(path=MODEL)], gpu=shared.gpu)
    run = await send(other_client, shared)
    lease = await box.lease(20)
    assert lease is not None
    mine = {**LACKING, "message": 'There is no model "mine.pt".', "details": {"input": "model"}}
    await box.complete(lease, "failed", error=mine)
    read = (await other_client.get(f"/v1/runs/{run['id']}")).json()
    assert (read["failure_message"], read["error"]["input"]) == (mine["message"], "model")


async def test_what_a_worker_turned_out_to_lack_is_told_to_no_other_organization(
    other_client: httpx.AsyncClient, able: MakeAble, shared: Deployed
) -> None:
    box = await able(models=[ModelFile(path=MODEL)], gpu=shared.gpu)
    run = await send(other_client, shared)
    lease = await box.lease(20)
    assert lease is not None
    answer = await box.complete(lease, "failed", error={**LACKING, "lacking": True})
    assert answer.json()["status_code"] == "queued"
    await waits_because(other_client, run, "Ask its owner")
    assert leaks(await all_that_is_told(other_client, shared, run), box) == []


async def test_a_worker_that_was_lost_is_not_named(
    services: Services, client: httpx.AsyncClient, other_client: httpx.AsyncClient, able: MakeAble, shared: Deployed
) -> None:
    box = await able(models=[ModelFile(path=MODEL)], gpu=shared.gpu)
    for caller, is_owner in ((client, True), (other_client, False)):
        run = await send(caller, shared)
        for _ in range(3):
            lease = await box.lease(20)
            assert lease is not None and lease["run_id"] == run["id"]
            await box.heartbeat(lease)
            async with services.db.system() as transaction:
                statement = "UPDATE run_attempts SET expires_at = now() - interval '1 hour' WHERE id = %(id)s"
                await transaction.run(statement, {"id": UUID(lease["id"])})
            await Sweeper(services).sweep_leases()
        read = (await caller.get(f"/v1/runs/{run['id']}")).json()
        assert (read["status_code"], read["failure_code"]) == ("failed", "WORKER_LOST")
        assert (leaks(await all_that_is_told(caller, shared, run), box) != []) is is_owner
