"""Golden runs whose outputs have to pass an evaluation, and what webhooks are told of their ends."""

from typing import Any

import httpx
import pytest
from PIL import Image

from tests.golden.conftest import deploy, ended, finish, keep, read
from tests.support.deployed import Deployed, Worker
from tests.support.picture_corpus import good, png
from tests.support.waiting import until


@pytest.fixture(scope="module")
def portrait() -> bytes:
    """A photograph that no judge complains about."""
    return png(good("portrait", 1, 384, 384))


@pytest.mark.parametrize("asked_by", ["deployment", "example", "workflow"])
async def test_outputs_that_pass_let_the_version_serve(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker, portrait: bytes, asked_by: str
) -> None:
    options: Any = True
    if asked_by == "deployment":
        options = {"evaluate": True}
    else:
        await keep(client, kept.id, "otter", input={"prompt": "an otter"}, evaluate=True)
    if asked_by == "workflow":
        await client.patch(f"/v1/comfyui-workflows/{kept.id}", json={"auto_evaluate": True})
    tested = (await deploy(client, kept.id, golden=options))["golden_run"]
    await finish(worker, portrait)
    found = await ended(client, kept.id, tested["id"])
    assert (found["status_code"], found["reasons"]) == ("passed", [])
    run = found["examples"][0]["run_id"]
    assert len((await client.get(f"/v1/runs/{run}/evaluations")).json()["items"]) == 1
    assert (await read(client, kept.id))["version"] == "2"


async def test_an_output_that_does_not_pass_keeps_the_old_version(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker
) -> None:
    tested = (await deploy(client, kept.id, golden={"evaluate": True}))["golden_run"]
    await finish(worker, png(Image.new("RGB", (384, 384))))
    found = await ended(client, kept.id, tested["id"])
    (why,) = found["reasons"]
    assert (found["status_code"], why["code"], why["example"]) == ("failed", "EVALUATION_NOT_PASSED", "otter")
    assert (await read(client, kept.id))["version"] == "1"


async def test_nothing_to_evaluate_is_a_failure_that_says_so(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker
) -> None:
    tested = (await deploy(client, kept.id, golden={"evaluate": True}))["golden_run"]
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.complete(lease, outputs=[])
    found = await ended(client, kept.id, tested["id"])
    (why,) = found["reasons"]
    assert (found["status_code"], why["code"], why["example"]) == ("failed", "NOTHING_TO_EVALUATE", "otter")


async def test_webhooks_are_told_once_of_each_end(client: httpx.AsyncClient, kept: Deployed, worker: Worker) -> None:
    hook = {"url": "http://127.0.0.1:9/hook", "event_subscriptions": ["golden_run.passed", "golden_run.cancelled"]}
    webhook = (await client.post("/v1/webhooks", json=hook)).json()["id"]
    tested = [(await deploy(client, kept.id))["golden_run"]["id"]]
    await client.post(f"/v1/comfyui-workflows/{kept.id}/golden-runs/{tested[0]}/cancellation")
    again = await client.post(f"/v1/comfyui-workflows/{kept.id}/golden-runs", json={"version": "2"})
    tested.append(again.json()["id"])
    assert (await ended(client, kept.id, tested[0]))["status_code"] == "cancelled"

    async def pass_it() -> bool:
        lease = await worker.lease(wait=1)
        if lease is not None:
            await worker.complete(lease, outputs=[])
        found = await client.get(f"/v1/comfyui-workflows/{kept.id}/golden-runs/{tested[1]}")
        return bool(found.json()["status_code"] == "passed")

    await until(pass_it)

    async def told() -> list[dict[str, Any]] | None:
        items = (await client.get(f"/v1/webhooks/{webhook}/deliveries")).json()["items"]
        return items if len(items) >= 2 else None

    items = await until(told)
    assert {(one["event_type_code"], one["golden_run_id"]) for one in items} == {
        ("golden_run.cancelled", tested[0]),
        ("golden_run.passed", tested[1]),
    }
    assert len(items) == 2
    whole = (await client.get(f"/v1/webhooks/{webhook}/deliveries/{items[0]['id']}")).json()["payload"]
    assert (whole["version"], whole["workflow"]) == ("2", kept.path)
