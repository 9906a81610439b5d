"""What becomes of a deployment, against the real server with a worker that speaks the Worker API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.answers import Refused
from plugin.deploy import aftermath
from plugin.deploy.aftermath import Published
from plugin.deploy.golden import example_names
from plugin.deploy.job import Agreed, DeployJob, send
from plugin.deploy.plan import Plan
from plugin.deploy.platform import Platform
from plugin.deploy.target import Target
from plugin.graph import Interface
from runflow.ids import new_id
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import PROMPT, Worker
from tests.support.sources import fresh_origin, manifest
from tests.support.waiting import until

FAILED = {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": "It broke. Mend it."}


def target(base: str, client: httpx.AsyncClient) -> Target:
    return Target(base, base, client.headers["Authorization"].removeprefix("Bearer "))


@dataclass
class Author:
    """Somebody who deploys one workflow of a GPU class of its own."""

    base: str
    client: httpx.AsyncClient
    gpu: str
    name: str

    async def deploy(self, agreed: Agreed, *origins: str, strength: float = 1.0) -> DeployJob:
        prompt = {**PROMPT, "4": {"class_type": "Anything", "inputs": {**PROMPT["4"]["inputs"], "strength": strength}}}  # type: ignore[dict-item]
        body: dict[str, Any] = {"name": self.name, "workflow_json": prompt, "models": {}, **manifest(*origins)}
        body |= {"gpu_mode": "explicit", "gpu_explicit_models": [self.gpu], "graph": {"extra": {"runflow": {}}}}
        job = DeployJob(target(self.base, self.client), None)
        job.knows_prebuilds = True
        async with Platform(job.target) as platform:
            job.examples = await example_names(platform, await platform.find(self.name))
        await send(job, Plan(self.name, self.name, body, ()), agreed)
        assert job.published is not None
        return job

    async def look(self, job: DeployJob) -> dict[str, Any]:
        assert job.published is not None
        return await aftermath.follow(job.target, job.published)


@pytest.fixture
def author(own_address: str, operator: httpx.AsyncClient) -> Author:
    """The operator, who may approve code."""
    name = new_id().hex[-8:]
    return Author(own_address, operator, f"GPU-{name}", f"after-{name}")


async def held(worker: Worker) -> dict[str, Any]:
    answer = await worker.http.post("/v1/worker/prebuilds", json={**worker.me, "wait_seconds": 20})
    order = answer.json()["prebuild"]
    assert order is not None
    return dict(order)


async def report(worker: Worker, order: Mapping[str, Any], result: str, **more: Any) -> None:
    body = {**worker.me, "result": result, **more}
    answer = await worker.http.post(f"/v1/worker/prebuilds/{order['id']}/reports", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_pre_build_is_followed_through_approval_and_failure_until_it_is_ready(
    author: Author, able: MakeAble
) -> None:
    origin = fresh_origin()
    job = await author.deploy(Agreed(prebuild=True), origin)
    assert job.describe()["result"]["job"] == job.id
    told = await author.look(job)
    assert told["prebuild"]["state"] == "queued" and "worker" in told["prebuild"]["text"]
    assert (told["golden"], told["over"], told["trouble"]) == (None, False, "")

    worker = await able(CLASSES - {"Anything"}, gpu=author.gpu, builds="approved")
    told = (await author.look(job))["prebuild"]
    assert (told["state"], told["may_approve"]) == ("waiting_for_approval", True)
    (source,) = told["sources"]
    assert (source["origin"], source["state"]) == (origin, "waiting")
    with pytest.raises(Refused, match="None of it waits"):
        await aftermath.approve(job.target, [{"origin": fresh_origin(), "commit": source["commit"]}])
    with pytest.raises(Refused, match="Nothing to approve"):
        await aftermath.approve(job.target, [{"origin": origin, "commit": "main"}])
    await aftermath.approve(job.target, [{"origin": source["origin"], "commit": source["commit"]}])

    order = await held(worker)
    await report(worker, order, "building", step="packages", message="Finding one set.")
    told = (await author.look(job))["prebuild"]
    assert (told["state"], told["text"]) == ("building", f"The worker {worker.name}: Finding one set.")
    built = {
        "fingerprint": "f",
        "succeeded": False,
        "step": "check",
        "pack": "pack0",
        "message": "Bad.",
        "log": "Long.",
    }
    await report(worker, order, "failed", error=FAILED, built=built)
    told = await author.look(job)
    assert told["over"] and told["prebuild"]["log"] == "Long."
    assert "The node pack pack0 is at fault. It broke. Mend it." in told["prebuild"]["text"]

    assert job.published is not None
    await aftermath.prebuild_again(job.target, job.published)
    assert not (await author.look(job))["over"]
    await report(worker, await held(worker), "ready")
    told = await author.look(job)
    assert (told["over"], told["prebuild"]["state"]) == (True, "ready")
    assert worker.name in told["prebuild"]["text"]

    await author.deploy(Agreed(), origin, strength=2)
    told = await author.look(job)
    assert (told["over"], told["prebuild"]["state"]) == (True, "superseded")


async def test_a_key_that_may_not_approve_is_offered_no_button(
    own_address: str, client: httpx.AsyncClient, able: MakeAble
) -> None:
    name = new_id().hex[-8:]
    other = Author(own_address, client, f"GPU-{name}", f"after-{name}")
    await able(CLASSES - {"Anything"}, gpu=other.gpu, builds="approved")
    job = await other.deploy(Agreed(prebuild=True), fresh_origin())
    told = (await other.look(job))["prebuild"]
    assert (told["state"], told["may_approve"]) == ("waiting_for_approval", False)
    assert told["sources"][0]["command"].startswith("runflow sources approve https://")
    with pytest.raises(Refused, match="approval failed — PERMISSION_DENIED"):
        await aftermath.approve(job.target, told["sources"])


async def test_a_version_is_tested_first_and_serves_or_not(author: Author, able: MakeAble) -> None:
    worker = await able(gpu=author.gpu)
    first = await author.deploy(Agreed(golden=True))
    result = first.describe()["result"]
    assert (result["testing"], result["job"]) == (None, None), "a workflow without examples is not tested"
    example = {"name": "otter", "input": {"prompt": "an otter"}}
    kept = await author.client.post(f"/v1/comfyui-workflows/{result['id']}/examples", json=example)
    assert kept.status_code == 201, kept.text

    job = await author.deploy(Agreed(prebuild=True, golden=True), strength=2)
    assert job.examples == ["otter"]
    result = job.describe()["result"]
    assert (result["version"], result["testing"], result["unchanged"]) == ("1", "2", False)
    told = await author.look(job)
    assert (told["golden"]["state"], told["prebuild"], told["over"]) == ("running", None, False)
    assert told["golden"]["examples"][0]["name"] == "otter"
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")

    async def is_over() -> dict[str, Any] | None:
        found = await author.look(job)
        return found if found["over"] else None

    told = dict(await until(is_over, every=0.05))
    assert told["golden"]["title"] == "Version 2 does not serve: its test failed"
    assert "It broke. Mend it." in told["golden"]["reasons"][0]
    assert "promotions" in told["golden"]["next_step"] and told["deployed"] is None

    unchanged = await author.deploy(Agreed(golden=True))
    assert (unchanged.describe()["result"]["testing"], unchanged.describe()["result"]["unchanged"]) == (None, True)

    job = await author.deploy(Agreed(golden=True), strength=3)
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    told = dict(await until(is_over, every=0.05))
    assert (told["golden"]["state"], told["deployed"]["version"]) == ("passed", "3")
    assert "/runs" in told["deployed"]["curl"]

    job = await author.deploy(Agreed(golden=True), strength=4)
    assert job.published is not None
    await aftermath.stop_test(job.target, job.published)
    told = dict(await until(is_over, every=0.05))
    assert told["golden"]["title"] == "Version 4 does not serve: its test was stopped"
    with pytest.raises(Refused, match="is not being tested"):
        await aftermath.stop_test(job.target, Published("w", "p", "1", Interface((), ())))


@pytest.mark.parametrize(("status", "over"), [(503, False), (429, False), (401, True), (404, True)])
async def test_a_server_in_trouble_is_asked_again_and_one_that_refuses_is_not(status: int, over: bool) -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.json_response({"code": "TROUBLE", "message": "No."}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    published = Published("w", "default/x", "1", Interface((), ()), prebuild=True)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        told = await aftermath.follow(Target(base, base, "rf_live_x"), published)
    assert (told["over"], told["prebuild"]) == (over, None)
    assert "TROUBLE: No." in told["trouble"]
    told = await aftermath.follow(Target(base, base, "rf_live_x"), published)
    assert not told["over"] and "could not be reached" in told["trouble"]
