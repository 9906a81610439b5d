"""What keeps golden runs within bounds: a budget that is used up, the number of examples, strangers, what lacks."""

from decimal import Decimal

import httpx

from runflow.billing import grants
from runflow.ids import new_id
from runflow.web.services import Services
from tests.golden.conftest import deploy, ended, finish, keep, next_prompt, read
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker


async def test_a_used_up_budget_fails_it_and_the_old_version_goes_on(
    services: Services, client: httpx.AsyncClient, kept: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    principal = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert principal is not None
    async with services.db.system() as transaction:
        await grants.grant(transaction, principal.org_id, monthly=Decimal(0), credit=None)
    services.hub.publish("budget", str(principal.org_id))
    made = await deploy(client, kept.id)
    found = await ended(client, kept.id, made["golden_run"]["id"])
    (why,) = found["reasons"]
    assert (found["status_code"], why["code"]) == ("failed", "INSUFFICIENT_CREDIT")
    assert [one["run_id"] for one in found["examples"]] == [None]
    assert (await read(client, kept.id))["version"] == "1"
    async with services.db.system() as transaction:
        await grants.grant(transaction, principal.org_id, monthly=Decimal(100), credit=None)
    services.hub.publish("budget", str(principal.org_id))
    again = await client.post(f"/v1/comfyui-workflows/{kept.id}/golden-runs", json={"version": 2})
    assert again.status_code == 201, again.text
    await finish(worker)
    assert (await ended(client, kept.id, again.json()["id"]))["status_code"] == "passed"


async def test_a_workflow_keeps_so_many_examples_and_no_more(client: httpx.AsyncClient, kept: Deployed) -> None:
    for number in range(19):
        await keep(client, kept.id, f"e{number}", input={"prompt": "an otter"})
    one_more = {"name": "too-many", "input": {"prompt": "an otter"}}
    refused = await client.post(f"/v1/comfyui-workflows/{kept.id}/examples", json=one_more)
    assert refused.status_code == 409 and "at most 20 examples" in refused.json()["message"], refused.text
    await keep(client, kept.id, "e3", input={"prompt": "another otter"})
    (oldest,) = [
        one["id"]
        for one in (await client.get(f"/v1/comfyui-workflows/{kept.id}/examples?limit=50")).json()["items"]
        if one["name"] == "otter"
    ]
    assert (await client.delete(f"/v1/comfyui-workflows/{kept.id}/examples/{oldest}")).status_code == 204
    await keep(client, kept.id, "one-more", input={"prompt": "an otter"})


async def test_strangers_cannot_run_what_has_not_passed(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    body = {
        "name": f"Public {new_id().hex[-8:]}",
        "workflow_json": PROMPT,
        "is_public": True,
        "gpu_mode": "explicit",
        "gpu_explicit_models": [workflow.gpu],
        "examples": [{"name": "otter", "input": {"prompt": "an otter"}}],
        "golden": True,
    }
    made = (await client.post("/v1/comfyui-workflows", json=body)).json()
    runs = f"/v1/comfyui-workflows/{made['path']}/runs"
    refused = await other_client.post(runs, json={"input": {"prompt": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (409, "WORKFLOW_NOT_SERVING")
    assert (await other_client.get(f"/v1/comfyui-workflows/{made['id']}/examples")).status_code == 404
    assert (await other_client.get(f"/v1/comfyui-workflows/{made['id']}/golden-runs")).status_code == 404
    await finish(worker)
    await ended(client, made["id"], made["golden_run"]["id"])
    assert (await other_client.post(runs, json={"input": {"prompt": "x"}})).status_code == 201


async def test_the_answer_tells_whether_the_new_version_can_run(
    client: httpx.AsyncClient, able: MakeAble, kept: Deployed
) -> None:
    await able(CLASSES)
    unknown = next_prompt()
    unknown["99"] = {"class_type": "NobodyHasThis", "inputs": {}}
    unknown["4"]["inputs"]["more"] = ["99", 0]
    made = await deploy(client, kept.id, workflow_json=unknown)
    assert made["can_run"] is False
    assert any("NobodyHasThis" in one["message"] for one in made["warnings"])
    assert (await client.get(f"/v1/comfyui-workflows/{kept.id}/runtime")).json()["can_run"] is True
