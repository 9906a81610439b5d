"""What a lease says of files that libraries keep in caches of their own."""

from typing import Any

import httpx

from runflow.web.services import Services
from tests.support.able import MakeAble
from tests.support.application import MakeKey
from tests.support.deployed import PROMPT, Deployed, Worker
from tests.support.model_uploads import accepting, content, upload

COMMIT, SHA = "c" * 40, "a" * 64


def environment(*checkpoints: dict[str, Any], path: str = "model.safetensors") -> dict[str, Any]:
    row = {"path": path, "size_bytes": 3, "sha256": SHA}
    repository = {"repo": "org/name", "type": "model", "revision": COMMIT, "refs": ["main"], "files": [row]}
    return {"cached_models": {"huggingface": [repository, "org/by-name-only"], "pytorch": list(checkpoints)}}


async def queued(client: httpx.AsyncClient, workflow: Deployed, told: Any) -> dict[str, Any]:
    """Deploy a workflow that takes this from caches, and dispatch a run of it."""
    body = {"name": "Caches", "workflow_json": PROMPT, "environment": told, "gpu_mode": "explicit"}
    answer = await client.post("/v1/comfyui-workflows", json={**body, "gpu_explicit_models": [workflow.gpu]})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    run = await client.post(f"/v1/comfyui-workflows/{made['path']}/runs", json={"input": {"prompt": "x"}})
    assert run.status_code == 201, run.text
    return made


async def leased(worker: Worker) -> list[dict[str, Any]]:
    lease = await worker.lease(wait=20)
    assert lease is not None
    found: list[dict[str, Any]] = lease["cached"]
    return found


async def test_files_that_can_be_fetched_go_to_who_fetches(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    fetches = await able(fetches_addresses=True)
    fixed = {"name": "fixed.safetensors", "sha256": "b" * 64, "url": "https://host.example/fixed.safetensors"}
    lost = {"name": "lost.safetensors", "sha256": "d" * 64}
    await queued(client, workflow, environment(fixed, lost))
    hub, torch = await leased(fetches)
    assert hub == {
        "cache": "huggingface",
        "path": "model.safetensors",
        "sha256": SHA,
        "size_bytes": 3,
        "repository": "org/name",
        "repository_type": "model",
        "revision": COMMIT,
        "refs": ["main"],
        "url": None,
        "is_upload": False,
    }
    assert (torch["cache"], torch["path"], torch["url"]) == ("torch", "fixed.safetensors", fixed["url"])


async def test_who_fetches_from_no_address_is_told_of_none(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    attached = await able()
    await queued(client, workflow, environment())
    assert await leased(attached) == []


async def test_a_file_without_an_address_comes_from_what_its_organization_uploaded(
    services: Services, make_key: MakeKey, client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    fetches = await able(fetches_addresses=True)
    async with accepting(services, await make_key()) as caller:
        model = await upload(caller, content(0.001, 7))
        told = environment({"name": "mine.safetensors", "sha256": model["sha256"]})
        made = await queued(caller, workflow, told)
        assert not any("mine.safetensors" in warning["message"] for warning in made["warnings"])
        _, mine = await leased(fetches)
        assert (mine["is_upload"], mine["size_bytes"]) == (True, model["size_bytes"])
        assert (await caller.get(mine["url"])).content == content(0.001, 7)
    other = await queued(client, workflow, told)
    assert any("mine.safetensors" in warning["message"] for warning in other["warnings"])
    assert [one["cache"] for one in await leased(fetches)] == ["huggingface"], "nobody gets what another has uploaded"


async def test_what_may_hold_code_waits_for_a_worker_whose_operator_allows_it(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    careful = await able(fetches_addresses=True)
    made = await queued(client, workflow, environment(path="pytorch_model.bin"))
    assert made["can_run"] is False and "RUNFLOW_WORKER_ALLOW_PICKLE" in made["warnings"][0]["next_step"]
    assert await careful.lease() is None
    allows = await able(fetches_addresses=True, allows_pickle=True)
    assert [one["path"] for one in await leased(allows)] == ["pytorch_model.bin"]
