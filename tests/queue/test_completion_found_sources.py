"""A build that finds a package to approve: its run waits, says for what, and goes on when it is approved."""

from typing import Any

import httpx

from runflow.ids import new_id
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import Worker
from tests.support.sources import COMMIT, decide, deploy, fresh_origin

ERROR = {"code": "RUNTIME_BUILD_FAILED", "stage": "prepare", "message": "A package waits. Approve it."}


async def found(worker: Worker, lease: dict[str, Any], origin: str) -> str:
    built = {
        "fingerprint": lease["version"]["fingerprint"],
        "succeeded": False,
        "step": "packages",
        "pack": "pack0",
        "waits_for": {"origin": origin, "commit": COMMIT},
    }
    answer = await worker.complete(lease, "failed", error=ERROR, built=built)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status_code"])


async def test_the_run_waits_until_it_is_approved_and_is_given_to_nobody_before(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, able: MakeAble
) -> None:
    gpu, pack, package = f"GPU-{new_id().hex[-8:]}", fresh_origin(), fresh_origin()
    worker = await able(CLASSES - {"Anything"}, gpu=gpu, builds="approved")
    workflow = await deploy(client, pack, gpu_mode="explicit", gpu_explicit_models=[gpu])
    await decide(operator, pack)
    path = f"/v1/comfyui-workflows/{workflow['path']}/runs"
    run = (await client.post(path, json={"input": {"prompt": "an otter"}})).json()
    lease = await worker.lease(wait=20)
    assert lease is not None and lease["run_id"] == run["id"]
    await worker.heartbeat(lease)
    assert await found(worker, lease, package) == "queued"
    assert await worker.lease() is None, "it would only find the same"
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert f"once the operator has approved {package} at {COMMIT[:10]}, which pack0 wants" in read["waiting_reason"]
    assert f"runflow sources approve {package}@{COMMIT}" in read["waiting_reason"]
    assert read["attempts"] == []
    told = (await client.get(f"/v1/comfyui-workflows/{workflow['id']}/runtime")).json()
    assert told["can_run"] is False
    await decide(operator, package)
    lease = await worker.lease(wait=20)
    assert lease is not None and lease["run_id"] == run["id"]
    assert {"origin": package, "commit": COMMIT} in lease["version"]["build"]["approved"]
    assert await found(worker, lease, package) == "failed", "it is approved, and was before the run was offered"


BROKEN = {
    "fingerprint": "f",
    "runtime": "runtime-a",
    "succeeded": False,
    "step": "check",
    "message": "No such class.",
    "is_permanent": True,
}


async def test_runs_whose_build_failed_for_good_end_with_it_until_somebody_asks_again(
    client: httpx.AsyncClient, able: MakeAble
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    worker = await able(CLASSES - {"Anything"}, gpu=gpu, builds="on")
    workflow = await deploy(client, fresh_origin(), gpu_mode="explicit", gpu_explicit_models=[gpu])
    path = f"/v1/comfyui-workflows/{workflow['path']}/runs"
    shown = f"/v1/comfyui-workflows/{workflow['id']}/runtime"
    for _ in range(2):
        # The second one too: nobody else could have it built, so its caller does not wait for what never comes.
        await client.post(path, json={"input": {"prompt": "an otter"}})
        lease = await worker.lease(wait=20)
        assert lease is not None
        answer = await worker.complete(lease, "failed", error=ERROR, built=BROKEN)
        assert answer.json()["status_code"] == "failed"
    told = (await client.get(shown)).json()
    assert told["can_run"] is False and "could not build a ComfyUI of its own for it: No such class" in told["reason"]
    assert [one["runtime"] for one in told["builds"]] == ["runtime-a"]
    await client.post(f"/v1/comfyui-workflows/{workflow['id']}/versions/1/prebuild")
    assert (await client.get(shown)).json()["can_run"] is True


async def test_a_worker_whose_build_failed_for_good_leaves_runs_to_one_that_could(
    client: httpx.AsyncClient, able: MakeAble
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    first, second = [await able(CLASSES - {"Anything"}, gpu=gpu, builds="on") for _ in range(2)]
    workflow = await deploy(client, fresh_origin(), gpu_mode="explicit", gpu_explicit_models=[gpu])
    path = f"/v1/comfyui-workflows/{workflow['path']}/runs"
    for _ in range(2):
        await client.post(path, json={"input": {"prompt": "an otter"}})
    lease = await first.lease(wait=20)
    assert lease is not None
    await first.complete(lease, "failed", error=ERROR, built=BROKEN)
    assert await first.lease() is None, "it would fail again, and there is another"
    lease = await second.lease(wait=20)
    assert lease is not None
    assert (await client.get(f"/v1/comfyui-workflows/{workflow['id']}/runtime")).json()["can_run"] is True
