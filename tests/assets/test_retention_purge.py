"""The bytes of a deleted asset go when nobody needs them any more, and not before."""

import contextlib
import dataclasses
from typing import Any

import httpx
import pytest

from runflow import errors
from runflow.assets.retention import LOOK_AGAIN_SECONDS, TAKEN_SECONDS, purge_deleted_assets
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.asset_lifetime import keys, later
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker
from tests.support.deployed import dispatch as dispatch
from tests.support.deployed import make_worker as make_worker
from tests.support.deployed import worker as worker
from tests.support.deployed import workflow as workflow
from tests.support.poisoned import poisoned
from tests.support.uploading import picture, upload


async def deleted(client: httpx.AsyncClient) -> dict[str, Any]:
    asset = await upload(client, picture())
    assert (await client.delete(f"/v1/assets/{asset['id']}")).status_code == 204
    return asset


async def test_urls_that_were_given_out_stay_good_till_they_expire(
    client: httpx.AsyncClient, services: Services
) -> None:
    asset = await deleted(client)
    day = services.settings.output_url_seconds
    await later(services, asset["id"], day - 60)
    await purge_deleted_assets(services)
    assert (await client.get(asset["url"])).status_code == 200
    await later(services, asset["id"], 60)
    assert await purge_deleted_assets(services) >= 1
    assert (await client.get(asset["url"])).status_code == 404
    assert await keys(services, asset["id"]) == 0
    assert await purge_deleted_assets(services) == 0
    assert (await client.delete(f"/v1/assets/{asset['id']}")).status_code == 204


async def test_bytes_that_cannot_be_removed_keep_no_others(client: httpx.AsyncClient, services: Services) -> None:
    assets = [await deleted(client) for _ in range(2)]
    for asset in assets:
        await later(services, asset["id"], services.settings.output_url_seconds + 60)
    await purge_deleted_assets(poisoned(services, assets[0]["id"]))
    assert [await keys(services, asset["id"]) > 0 for asset in assets] == [True, False]
    await later(services, assets[0]["id"], TAKEN_SECONDS)
    await purge_deleted_assets(services)
    assert await keys(services, assets[0]["id"]) == 0


async def test_a_queued_run_gets_its_file_though_it_was_deleted(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    asset = await upload(client, picture())
    ref = f"runflow://assets/{asset['id']}"
    run = await dispatch(input={"prompt": "x", "photo": ref})
    await client.delete(f"/v1/assets/{asset['id']}")
    await later(services, asset["id"], 10**6)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 2
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["input"]["photo"] == ref, "gone for its readers"
    lease = await worker.lease(20)
    assert lease is not None
    assert (await client.get(lease["files"][ref]["url"])).content == picture()
    await later(services, asset["id"], LOOK_AGAIN_SECONDS + 1)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 2, "the run is being executed"
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    await later(services, asset["id"], LOOK_AGAIN_SECONDS + 1)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 0


async def test_a_new_run_cannot_use_it(client: httpx.AsyncClient, workflow: Deployed) -> None:
    asset = await deleted(client)
    body = {"input": {"prompt": "x", "photo": f"runflow://assets/{asset['id']}"}}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == "unknown_asset"


@pytest.mark.parametrize("where", ["resources", "interface"])
async def test_a_workflow_keeps_what_it_needs(client: httpx.AsyncClient, services: Services, where: str) -> None:
    asset = await upload(client, picture())
    body: dict[str, Any] = {"name": f"W {new_id()}", "workflow_json": PROMPT}
    if where == "resources":
        body["resources"] = {"photo.png": {"asset_id": asset["id"], "sha256": None}}
    else:
        body["inputs"] = [
            {
                "name": "photo",
                "variable_type_code": "image",
                "default_value": f"runflow://assets/{asset['id']}",
                "comfyui_node_id": "3",
                "comfyui_field_name": "value",
                "is_required": False,
            }
        ]
    made = await client.post("/v1/comfyui-workflows", json=body)
    assert made.status_code == 201, made.text
    await client.delete(f"/v1/assets/{asset['id']}")
    await later(services, asset["id"], 10**6)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 2
    await client.delete(f"/v1/comfyui-workflows/{made.json()['id']}")
    await later(services, asset["id"], 10**6)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 2, "the workflow may be restored"
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE workflows SET deleted_at = now() - interval '31 days' WHERE id = %(id)s",
            {"id": made.json()["id"]},
        )
    await later(services, asset["id"], 10**6)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 0


async def test_a_process_that_dies_in_between_leaves_it_to_the_next(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = await deleted(client)
    await later(services, asset["id"], 10**6)

    class Broken:
        async def delete(self, keys: object) -> None:
            raise errors.Unavailable

    with contextlib.suppress(errors.Unavailable):  # where other tests left many
        await purge_deleted_assets(dataclasses.replace(services, storage=Broken()))  # type: ignore[arg-type]
    assert await purge_deleted_assets(services) == 0
    await later(services, asset["id"], TAKEN_SECONDS + 1)
    assert await purge_deleted_assets(services) >= 1
    assert await keys(services, asset["id"]) == 0
