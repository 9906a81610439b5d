"""Pre-builds: given to a worker that has no run and may run the version, taken up again when lost, ended once."""

from collections.abc import Mapping
from typing import Any

import httpx

from runflow.ids import new_id
from runflow.queue import prebuilds
from runflow.web.services import Services
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker
from tests.support.sources import decide, fresh_origin, manifest

FAILED = {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": "It broke. Mend it."}


async def deployed(client: httpx.AsyncClient, gpu: str, *origins: str, **more: Any) -> dict[str, Any]:
    """A version whose pre-build is asked for, of which the GPU class has workers of this test alone."""
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, "prebuild": True, **manifest(*origins), **more}
    explicit = {"gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    answer = await client.post("/v1/comfyui-workflows", json={**explicit, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def order(worker: Worker, wait: float = 0) -> dict[str, Any] | None:
    answer = await worker.http.post("/v1/worker/prebuilds", json={**worker.me, "wait_seconds": wait})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] | None = answer.json()["prebuild"]
    return found


async def report(worker: Worker, held: Mapping[str, Any], result: str = "building", **more: Any) -> httpx.Response:
    body = {**worker.me, "result": result, **more}
    return await worker.http.post(f"/v1/worker/prebuilds/{held['id']}/reports", json=body)


async def shown(client: httpx.AsyncClient, workflow: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"/v1/comfyui-workflows/{workflow['id']}/runtime")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["prebuild"])


async def lapse(services: Services, workflow: Mapping[str, Any]) -> None:
    """Let the lease of a pre-build be over, or what is due later be due."""
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE prebuilds SET lease_expires_at = now(), due_at = now() WHERE workflow_id = %(id)s",
            {"id": workflow["id"]},
        )
    services.hub.publish("prebuilds")


async def test_a_worker_is_given_it_says_how_far_it_is_and_ends_it(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    builder = await able(CLASSES - {"Anything"}, gpu=gpu, builds="on", fetches_addresses=True, places_models=True)
    workflow = await deployed(
        client, gpu, fresh_origin(), models={"loras/a.safetensors": {"url": "https://a.example/a"}}
    )
    assert (await shown(client, workflow))["state_code"] == "queued"
    held = await order(builder, wait=20)
    assert held is not None and held["version"]["build"] == {"approved": None}
    assert held["version"]["manifest"]["custom_nodes"].keys() == {"pack0"}
    assert [one["path"] for one in held["models"]] == ["loras/a.safetensors"]
    assert await order(builder) is None, "one at a time"
    assert (await report(builder, held, step="packages", message="Finding one set.")).status_code == 200
    building = await shown(client, workflow)
    assert (building["state_code"], building["worker"]) == ("building", builder.name)
    assert (building["step"], building["message"]) == ("packages", "Finding one set.")
    ended = await report(builder, held, "ready", message="Ready.")
    assert ended.json() == {"expires_at": None}
    ready = await shown(client, workflow)
    assert (ready["state_code"], ready["worker"], ready["tries"]) == ("ready", builder.name, 1)
    again = await report(builder, held, "failed", error=FAILED)
    assert (again.status_code, again.json()["code"]) == (404, "LEASE_NOT_FOUND")
    assert await order(builder) is None


async def test_only_who_could_run_it_is_given_it(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, able: MakeAble
) -> None:
    gpu, origin = f"GPU-{new_id().hex[-8:]}", fresh_origin()
    other = await able(gpu=f"GPU-{new_id().hex[-8:]}")
    lacking = await able(CLASSES - {"Anything"}, gpu=gpu)
    builder = await able(CLASSES - {"Anything"}, gpu=gpu, builds="approved")
    workflow = await deployed(client, gpu, origin)
    assert [await order(one) for one in (other, lacking, builder)] == [None, None, None]
    assert (await shown(client, workflow))["state_code"] == "waiting_for_approval"
    await decide(operator, origin)
    assert await order(other) is None and await order(lacking) is None
    held = await order(builder, wait=20)
    assert held is not None and held["version"]["build"]["approved"] is not None
    await report(builder, held, "ready")


async def test_who_has_a_run_is_given_none(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed, dispatch: Dispatch
) -> None:
    worker = await able()
    await dispatch()
    lease = await worker.lease(wait=20)
    assert lease is not None
    await client.post(f"/v1/comfyui-workflows/{workflow.id}/versions/1/prebuild")
    assert await order(worker) is None
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    assert await order(worker, wait=20) is not None


async def test_a_lost_one_is_taken_up_by_another_worker_and_given_up_in_the_end(
    client: httpx.AsyncClient, services: Services, able: MakeAble
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    first, second = await able(gpu=gpu), await able(gpu=gpu)
    workflow = await deployed(client, gpu)
    held = await order(first, wait=20)
    assert held is not None and await order(second) is None
    await lapse(services, workflow)
    mine = await order(second, wait=20)
    assert mine is not None and mine["id"] != held["id"]
    assert (await report(first, held)).json()["code"] == "LEASE_NOT_FOUND"
    assert (await report(second, mine)).status_code == 200
    await lapse(services, workflow)
    assert await order(first, wait=20) is not None, "the third and last try"
    await lapse(services, workflow)
    assert await order(second, wait=0) is None
    given_up = await shown(client, workflow)
    assert (given_up["state_code"], given_up["tries"]) == ("failed", prebuilds.MOST_TRIES)
    assert given_up["message"].startswith(f"The worker {first.name} stopped answering, as 2 before it did.")


async def test_what_may_pass_is_tried_again_and_what_stays_is_not(
    client: httpx.AsyncClient, services: Services, able: MakeAble
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    worker = await able(gpu=gpu)
    workflow = await deployed(client, gpu)
    held = await order(worker, wait=20)
    assert held is not None
    await report(worker, held, "released")
    await lapse(services, workflow)
    for states in ("queued", "queued", "failed"):
        held = await order(worker, wait=20)
        assert held is not None
        await report(worker, held, "failed", error={**FAILED, "retryable": True})
        assert (await shown(client, workflow))["state_code"] == states
        assert await order(worker) is None, "not at once"
        await lapse(services, workflow)
    asked = await client.post(f"/v1/comfyui-workflows/{workflow['id']}/versions/1/prebuild")
    assert (asked.status_code, asked.json()["state_code"], asked.json()["message"]) == (202, "queued", None)
    held = await order(worker, wait=20)
    assert held is not None
    built = {"fingerprint": "f", "succeeded": False, "step": "check", "pack": "P", "message": "Bad.", "log": "Long."}
    await report(worker, held, "failed", error=FAILED, built=built)
    failed = await shown(client, workflow)
    assert (failed["state_code"], failed["step"], failed["pack"]) == ("failed", "check", "P")
    assert (failed["message"], failed["log"]) == (FAILED["message"], "Long.")


async def test_an_organization_with_many_keeps_no_other_waiting(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, able: MakeAble
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    worker = await able(gpu=gpu)
    many = [(await deployed(client, gpu))["id"] for _ in range(3)]
    other = await deployed(other_client, gpu)
    order_of_turns = []
    for _ in range(4):
        held = await order(worker, wait=20)
        assert held is not None
        order_of_turns.append(held["version"]["id"])
        await report(worker, held, "ready")
    mine = {(await shown(client, {"id": one}))["version_id"] for one in many}
    assert set(order_of_turns[2:]) <= mine
    assert (await shown(other_client, other))["version_id"] in order_of_turns[:2]


async def test_a_deleted_workflow_is_prepared_no_more(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    worker = await able(gpu=gpu)
    workflow = await deployed(client, gpu)
    held = await order(worker, wait=20)
    assert held is not None
    await client.delete(f"/v1/comfyui-workflows/{workflow['id']}")
    assert (await report(worker, held)).json()["code"] == "LEASE_NOT_FOUND"


async def test_anothers_lease_and_a_strangers_are_lost(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    worker, other = await able(gpu=gpu), await able(gpu=gpu)
    await deployed(client, gpu)
    held = await order(worker, wait=20)
    assert held is not None
    assert (await report(other, held, "ready")).status_code == 404
    assert (await report(other, {"id": new_id()}, "ready")).status_code == 404
    assert (await report(worker, held, "ready")).status_code == 200
