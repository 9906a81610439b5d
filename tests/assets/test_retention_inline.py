"""Files that came inside requests go as outputs do; what someone uploaded or put in order stays."""

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from runflow.assets.retention import expire_inline_files, purge_deleted_assets
from runflow.web.services import Services
from tests.support.asset_lifetime import keys, later
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.deployed import dispatch as dispatch
from tests.support.deployed import make_worker as make_worker
from tests.support.deployed import worker as worker
from tests.support.deployed import workflow as workflow
from tests.support.uploading import picture, upload

PICTURE = "data:image/png;base64," + base64.b64encode(picture()).decode()


async def in_days(services: Services, days: float) -> int:
    """Sweep as if it were so many days later, until nothing is left: other tests' files are there as well."""
    total = 0
    while count := await expire_inline_files(services, datetime.now(UTC) + timedelta(days=days)):
        total += count
    return total


async def inline(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The assets that were made of data URIs, oldest first."""
    listed = await client.get("/v1/assets", params={"sort_by": "created_at:asc"})
    return [asset for asset in listed.json()["items"] if asset["source_type"] == "data_uri"]


async def ran(client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch, **more: Any) -> dict[str, Any]:
    """A run that succeeded."""
    run = await dispatch(**more)
    lease = await worker.lease(5)
    assert lease is not None and lease["run_id"] == run["id"]
    assert (await worker.complete(lease, outputs=[await worker.upload(lease)])).status_code == 200
    return run


async def test_they_go_with_the_outputs_of_the_run_that_they_came_with(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    uploaded = await upload(client, picture())
    run = await ran(client, worker, dispatch, input={"prompt": "x", "photo": PICTURE}, metadata={"thumb": PICTURE})
    (asset,) = await inline(client)
    await in_days(services, 29.9)
    assert [one["id"] for one in await inline(client)] == [asset["id"]]
    never = dataclasses.replace(services, settings=services.settings.model_copy(update={"output_retention_days": None}))
    assert await in_days(never, 1000) == 0
    assert await in_days(services, 30.1) >= 1
    assert await inline(client) == []
    assert (await client.get(f"/v1/assets/{uploaded['id']}")).status_code == 200
    # As after any deletion: URLs that were given out stay good till they expire, then the bytes go.
    assert (await client.get(asset["url"])).status_code == 200
    await later(services, asset["id"], services.settings.output_url_seconds + 1)
    await purge_deleted_assets(services)
    assert await keys(services, asset["id"]) == 0
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert read["input"]["photo"] == read["metadata"]["thumb"] == f"runflow://assets/{asset['id']}"
    again = await client.post(f"/v1/runs/{run['id']}/reruns", json={})
    assert (again.status_code, again.json()["errors"][0]["type"]) == (422, "unknown_asset")


async def test_a_new_run_of_the_same_file_keeps_it_as_long_again(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    first = await ran(client, worker, dispatch, input={"prompt": "x", "photo": PICTURE})
    (asset,) = await inline(client)
    await used_days_ago(services, asset["id"], 29)
    assert (await client.post(f"/v1/runs/{first['id']}/reruns", json={})).status_code == 201
    lease = await worker.lease(5)
    assert lease is not None
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    await in_days(services, 2)
    assert [one["id"] for one in await inline(client)] == [asset["id"]]
    await used_days_ago(services, asset["id"], 29)
    await ran(client, worker, dispatch, metadata={"again": f"runflow://assets/{asset['id']}"})
    await in_days(services, 2)
    assert [one["id"] for one in await inline(client)] == [asset["id"]]


async def test_a_run_that_still_waits_keeps_it(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run = await dispatch(input={"prompt": "x", "photo": PICTURE})
    (asset,) = await inline(client)
    await in_days(services, 31)
    assert [one["id"] for one in await inline(client)] == [asset["id"]]
    lease = await worker.lease(5)
    assert lease is not None and lease["run_id"] == run["id"]
    await in_days(services, 31)
    assert (await client.get(lease["files"][lease["input"]["photo"]]["url"])).content == picture()
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    await in_days(services, 31)
    assert await inline(client) == []


async def test_one_that_someone_put_in_order_stays(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch, workflow: Deployed
) -> None:
    await ran(client, worker, dispatch, input={"prompt": "x", "photo": PICTURE})
    (asset,) = await inline(client)
    assert (await client.patch(f"/v1/assets/{asset['id']}", json={"name": "mine.png"})).status_code == 200
    await in_days(services, 1000)
    assert [one["name"] for one in await inline(client)] == ["mine.png"]


async def used_days_ago(services: Services, asset_id: str, days: float) -> None:
    """Let time pass since the last use of this file."""
    async with services.db.system() as transaction:
        statement = "UPDATE assets SET used_at = used_at - make_interval(secs => %(seconds)s) WHERE id = %(id)s"
        await transaction.run(statement, {"seconds": days * 86400, "id": asset_id})
